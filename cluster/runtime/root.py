"""Where do our packages lie? The folder that workers find them in and that `submit` uploads.

The only place that counts folders.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
