"""The page over the demo footage, as a Hugging Face Space; `python app.py` runs it anywhere."""

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

home = Path("/data" if os.access("/data", os.W_OK) else tempfile.gettempdir()) / "var-plugin"
for name in ("index.db", "cache", "data"):
    os.environ.setdefault(f"VAR_PLUGIN_{name.removesuffix('.db').upper()}", str(home / name))

from var_plugin.app.launch import running_page  # noqa: E402
from var_plugin.app.options import PageOptions  # noqa: E402
from var_plugin.demo import compose  # noqa: E402
from var_plugin.library import open_index  # noqa: E402

with open_index() as index:
    for video in compose(home / "footage"):
        index.add(video.path, camera=video.camera, recorded_at=video.recorded_at)
    with suppress(ImportError):
        import spaces  # only there on ZeroGPU

        index.suite.encode = spaces.GPU(index.suite.encode)
    host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))  # noqa: S104
    with running_page(index, PageOptions(host=host, port=port, open_to_all=True, read_only=True)):
        threading.Event().wait()
