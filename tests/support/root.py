"""Where does the project lie?"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
