"""The notebook and the README's commands, as a reader runs them."""

import ast
import json
import re
from pathlib import Path

import migm

PACKAGE = Path(__file__).resolve().parents[1]


def test_the_notebook_runs(capsys):
    notebook = json.loads((PACKAGE / "trade-off.ipynb").read_text())
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "trade-off.ipynb", "exec"), names)
    told = capsys.readouterr().out
    assert told.count("x ") >= 6 and "same tokens as vanilla" in told
    assert names["images"].shape == (2, 128, 128, 3)
    # Runs of one seed part where one token differs, so that the budgets' order shows in many pictures only; but all stay far nearer to
    # vanilla of their seed than vanilla of another seed is.
    codes = names["vanilla"].codes
    another = (codes[0] == codes[1]).mean()
    for budget in (6, 3, 2):
        assert (names["found"][budget, "shortcut"].codes == codes).mean() > 2 * another + 0.05, budget
    # And with every step in full there is nothing to lose.
    steps, prompt = names["STEPS"], names["PROMPT"]
    whole = names["model"].generate(prompt, seeds=1, steps=steps, budget=steps, predictor="shortcut")
    assert (whole.codes[0] == names["vanilla"].codes[1]).all()


def test_the_readme_s_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S):
        exec(compile(block, "README.md", "exec"), {})


def test_everything_that_is_public_says_what_it_is():
    for path in sorted((PACKAGE / "migm").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            # Not functions in functions, nor setters, whose property says it.
            is_public = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
            told_elsewhere = is_public and (node.name == "chunk" or any(isinstance(d, ast.Attribute) for d in node.decorator_list))
            if is_public and not told_elsewhere:
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
    assert set(migm.__all__) <= set(dir(migm))
