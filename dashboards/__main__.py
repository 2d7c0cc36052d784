"""python -m dashboards: write every dashboard, and the rules of the prices, from their sources."""

from dashboards import prices
from dashboards.catalogue import DASHBOARDS
from dashboards.grafana import FOLDER


def main() -> None:
    """Write the files and name those that changed."""
    texts = {FOLDER / f"{dashboard.uid}.json": dashboard.text() for dashboard in DASHBOARDS} | {
        prices.FILE: prices.text()
    }
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(FOLDER.parent))  # noqa: T201 - a program for people


if __name__ == "__main__":
    main()
