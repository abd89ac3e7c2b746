"""Versions of the documentation beside each other, on a web server that serves files."""

import functools
import importlib.util
import json
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import chromium
import pytest

pytest.importorskip("furo", reason="builds documentation: pip install 'geir[docs]'")
DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.exists():
    pytest.skip("the documentation is not part of the source distribution", allow_module_level=True)
spec = importlib.util.spec_from_file_location("publish", DOCS / "publish.py")
publish = importlib.util.module_from_spec(spec)
spec.loader.exec_module(publish)

CONF = f"""
import sys
sys.path.insert(0, {str(DOCS)!r})
extensions = ["versions"]
html_theme, html_static_path, html_css_files = "furo", [{str(DOCS / "_static")!r}], ["style.css"]
project, release = "geir", "VERSION"
"""
LIST = "document.querySelector('.geir-versions select')"


def build(folder, version, pages):
    """Documentation with the theme of geir's."""
    source = folder / f"source-{version}"
    for page in pages:
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).with_suffix(".rst").write_text(f"Title\n=====\n\nVersion {version}.\n")
    (source / "conf.py").write_text(CONF.replace("VERSION", version))
    built = folder / f"built-{version}"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", source, built]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def listed(site):
    return [(entry["version"], entry["latest"]) for entry in json.loads((site / "versions.json").read_text())]


def built_page(folder):
    folder.mkdir()
    (folder / "index.html").write_text("documentation")
    return folder


def test_versions_are_listed_by_number_and_the_latest_release_is_the_first_page(tmp_path):
    built, site = built_page(tmp_path / "built"), tmp_path / "site"
    publish.publish(built, site, "dev")
    assert listed(site) == [("dev", False)]
    assert "url=dev/" in (site / "index.html").read_text()
    for name in ("0.9.0", "0.10.0", "0.2.0", "1.0rc1"):
        publish.publish(built, site, name)
    expected = [("0.10.0", True), ("0.9.0", False), ("0.2.0", False), ("dev", False), ("1.0rc1", False)]
    assert listed(site) == expected
    assert "url=0.10.0/" in (site / "index.html").read_text()


def test_a_version_that_is_published_again_is_replaced(tmp_path):
    built, site = built_page(tmp_path / "built"), tmp_path / "site"
    (built / "old.html").write_text("")
    publish.publish(built, site, "0.1.0")
    (built / "old.html").unlink()
    publish.publish(built, site, "0.1.0")
    assert sorted(path.name for path in (site / "0.1.0").iterdir()) == ["index.html"]
    assert listed(site) == [("0.1.0", True)]


def test_nothing_is_published_without_documentation_or_with_a_name_that_leaves_the_site(tmp_path):
    with pytest.raises(ValueError, match=r"has no index.html; build the documentation first"):
        publish.publish(tmp_path, tmp_path / "site", "0.1.0")
    built = built_page(tmp_path / "built")
    for name in ("", "..", "../other", "a/b", "."):
        with pytest.raises(ValueError, match="the name of a version must have only"):
            publish.publish(built, tmp_path / "site", name)
    assert not (tmp_path / "site").exists()


@pytest.mark.skipif(not chromium.find(), reason="there is no Chromium")
def test_the_list_leads_to_the_same_page_of_another_version_or_to_its_first(tmp_path):
    site = tmp_path / "site"
    publish.publish(build(tmp_path, "0.1.0", ["index", "folder/page"]), site, "0.1.0")
    publish.publish(build(tmp_path, "0.2.0", ["index", "folder/page", "new"]), site, "0.2.0")
    handler = functools.partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for start, target in (("folder/page.html?q=1#title", "folder/page.html?q=1#title"), ("new.html", "")):
            with chromium.Page(f"{url}/0.2.0/{start}") as page:
                page.until(f"{LIST}?.length === 2")
                shown = page.evaluate(f"[...{LIST}].map(one => [one.text, one.selected])")
                assert shown == [["0.2.0 (latest)", True], ["0.1.0", False]]
                page.evaluate(f"{LIST}.value = '0.1.0'; {LIST}.dispatchEvent(new Event('change')); 0")
                page.until(f"location.href === '{url}/0.1.0/{target}'")
                assert page.errors == []
        server.shutdown()


@pytest.mark.skipif(not chromium.find(), reason="there is no Chromium")
def test_documentation_that_is_opened_as_a_file_shows_its_own_version(tmp_path):
    built = build(tmp_path, "0.3.0", ["index"])
    with chromium.Page((built / "index.html").as_uri()) as page:
        page.until("document.readyState === 'complete' && location.protocol === 'file:'")
        assert page.evaluate(f"[...{LIST}].map(one => one.text)") == ["0.3.0"]
        assert page.errors == []
