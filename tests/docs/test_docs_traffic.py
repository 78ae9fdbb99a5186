"""docs/reference/traffic.md names every column there is."""

from docs_pages import DOCS  # type: ignore[import-not-found]

from wardround.traffic import ciciomt, flow, pkt


def test_every_column_is_documented() -> None:
    page = (DOCS / "reference/traffic.md").read_text(encoding="utf-8")
    names = {column.name for schema in (pkt.COLUMNS, flow.COLUMNS, ciciomt.SCHEMA.columns) for column in schema}
    missing = [name for name in names if f"`{name}`" not in page and f"`{name.removesuffix(' in')} out`" not in page]
    assert not missing
