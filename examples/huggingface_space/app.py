"""Serve the page with the demo footage as a Hugging Face Space; `python app.py` runs it anywhere."""

import os
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

home = Path("/data" if os.access("/data", os.W_OK) else tempfile.gettempdir()) / "var-plugin"
for name in ("index.db", "cache", "data"):
    os.environ.setdefault(f"VAR_PLUGIN_{name.removesuffix('.db').upper()}", str(home / name))

from var_plugin.api import open_index  # noqa: E402
from var_plugin.app.serve import running_page  # noqa: E402
from var_plugin.app.space import index_demo, space_options  # noqa: E402

with open_index(create=True) as index:
    failed, total = index_demo(index, home / "footage", log=lambda line: print(line, flush=True))
    if len(failed) == total:
        sys.exit("no demo video could be indexed; see the reasons above")
    with suppress(ImportError):
        import spaces  # only installed on ZeroGPU

        index.suite.encode = spaces.GPU(index.suite.encode)
    with running_page(index, space_options(failed, total)) as address:
        print(f"The page is served at {address}", flush=True)
        threading.Event().wait()
