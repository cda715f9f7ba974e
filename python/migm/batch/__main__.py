"""`python -m migm.batch`: the same as `migm-batch`."""

import sys

from .cli import main

sys.exit(main())
