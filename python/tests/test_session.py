"""Sessions: steps by hand, features, and a predictor of one's own."""

import migm
import numpy as np
import pytest


@pytest.fixture(params=["classes", "text"])
def model(request):
    return request.getfixturevalue(request.param)


def test_steps_by_hand_are_a_run(model):
    settings = {"steps": 4, "budget": 2, "predictor": "shortcut"}
    made = model.generate("fox" if model.classes else "a fox", seeds=[3, 4], **settings)
    with model.session("fox" if model.classes else "a fox", seeds=[3, 4], **settings) as session:
        assert [step.full for step in session.plan] == [True, False, True, False]
        assert (session.codes == model.codebook).all()
        with pytest.raises(migm.SettingError, match="masked yet"):
            session.images
        while (step := session.step()) is not None:
            assert (session.codes == model.codebook).sum() == 2 * (step.masked - step.revealed)
        assert session.next_step is None and session.step() is None
        assert (session.codes == made.codes).all() and (session.images == made.images).all()


def test_a_callable_stands_in_for_the_predictor(model):
    prompt = "fox" if model.classes else "a fox"
    settings = {"steps": 6, "budget": 2, "predictor": "reuse"}
    reused = model.generate(prompt, seeds=5, **settings)
    asked = []

    def reuse(session, step):
        asked.append(step.index)
        return session.features

    session = model.session(prompt, seeds=5, **settings)
    assert (session.run(reuse) == reused.images).all() and len(asked) == 4

    def noise(session, step):
        random = np.random.default_rng(step.index)
        return [random.normal(size=features.shape) for features in session.features]

    assert (model.session(prompt, seeds=5, **settings).run(noise) != reused.images).any()


def test_features_have_the_shapes_that_are_documented(classes, text):
    with classes.session("fox", seeds=[1, 2], steps=2) as session:
        session.step()
        [features] = session.features
        assert features.shape[:2] == (4, 65) and np.isfinite(features).all() and features.std() > 0.1
    with text.session("a fox", seeds=1, steps=2) as session:
        session.step()
        guided, unguided = session.features
        assert guided.shape[0] == unguided.shape[0] == 1 and guided.shape[2] == unguided.shape[2] == 192
        assert guided.shape[1] > 256


def test_what_is_no_feature_is_refused(classes):
    session = classes.session("fox", seeds=1, steps=3, budget=1, predictor="reuse")
    with pytest.raises(migm.SettingError, match="networks"):
        session.features = []
    with pytest.raises(migm.SettingError, match="features, not"):
        session.features = [np.zeros(3)]
    with pytest.raises(migm.SettingError, match="list of features"):
        session.run(lambda session, step: np.zeros(3))


def test_a_closed_session_says_so(classes):
    session = classes.session("fox", seeds=1, steps=2)
    session.close()
    session.close()
    for use in (session.step, session.run, lambda: session.codes, lambda: session.features):
        with pytest.raises(migm.SettingError, match="closed"):
            use()


def test_prompts_of_different_lengths_make_no_session(text):
    with pytest.raises(migm.SettingError, match="as many tokens"):
        text.session(["a fox", "two foxes in the snow"], seeds=1, steps=2)
