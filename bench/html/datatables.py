"""DataTables, out of the bundle that itables ships for pages without network: tables that sort and filter."""

import base64
import json
from importlib.resources import files

from markupsafe import Markup

#: Every table of this class; what is in the page is read by DataTables, so that it is there without scripts too.
SELECTOR = "table.sortable"
#: https://datatables.net/reference/option
OPTIONS = {
    "autoWidth": False,
    "columnControl": ["order", ["searchList"]],  # sort, and a list of values to choose from
    "columnDefs": [
        {"targets": ".number, .words", "columnControl": ["order"]},
        {"targets": ".plot", "columnControl": []},
    ],
    "language": {"search": "Filter:", "searchPlaceholder": "any word"},
    "layout": {"topStart": "search", "topEnd": None, "bottomStart": "info", "bottomEnd": "paging"},
    "lengthChange": False,
    "order": [],  # as it is in the page
    "ordering": {"indicators": False, "handler": False},  # columnControl does
    "pageLength": 15,
}


def style() -> str:
    """Their style sheet."""
    return _bundled("dt_bundle.css")


def script() -> Markup:
    """A script that makes every table of the page one of theirs, and follows the reader's dark or light setting."""
    source = base64.b64encode(_bundled("dt_bundle.js").encode()).decode()
    options = json.dumps(OPTIONS)
    return Markup(
        '<script type="module">\n'
        f'import DataTable, {{ set_or_remove_dark_class }} from "data:text/javascript;base64,{source}";\n'
        f"set_or_remove_dark_class();\nnew DataTable({json.dumps(SELECTOR)}, {options});\n</script>"
    )


def _bundled(name: str) -> str:
    return files("itables").joinpath("html", name).read_text("utf-8")
