"""Sign-off as a person does it: MLflow's own page, in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.client.connection import Connection
from registry.client.sign_off import status
from registry.client.versions import Registration, register

from .conftest import Registry

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

sync_api.expect.set_options(timeout=60_000)  # a state is waited for, however busy the machine is
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.servers,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM} on this machine"),
]


@contextmanager
def page_of(who: Connection) -> Iterator[sync_api.Page]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        context = browser.new_context(
            http_credentials={"username": who.user, "password": who.password, "origin": who.url},
            viewport={"width": 1400, "height": 1500},
        )
        try:
            yield context.new_page()
        finally:
            browser.close()


def open_version(page: sync_api.Page, url: str, product: str) -> None:
    page.goto(f"{url}/#/models/{product}/versions/1?workflowType=machine_learning")
    page.get_by_text("overkill (good parts rejected)").wait_for(timeout=60_000)


def set_tag(page: sync_api.Page, key: str, value: str) -> None:
    """Adds a tag that is not there yet, with the form below the table."""
    page.get_by_test_id("tags-form-input-name").fill(key)
    page.get_by_test_id("tags-form-input-value").fill(value)
    page.get_by_test_id("add-tag-button").click()


def row_of(page: sync_api.Page, key: str) -> sync_api.Locator:
    cell = page.get_by_role("cell", name=key, exact=True)
    return page.get_by_test_id("tags-section").get_by_role("row").filter(has=cell)


def edit_tag(page: sync_api.Page, key: str, value: str) -> None:
    """Changes a tag that is there, with the pencil in its row."""
    row = row_of(page, key)
    row.scroll_into_view_if_needed()
    row.get_by_test_id("editable-table-button-edit").click()
    page.get_by_test_id("editable-table-edited-input").fill(value)
    page.get_by_test_id("editable-table-button-save").click()


def test_quality_assurance_signs(
    registry: Registry, make_request: Callable[..., Registration], product: str, tmp_path: Path
) -> None:
    register(registry.trainer, make_request())
    with page_of(registry.ana) as page:
        open_version(page, registry.url, product)
        sync_api.expect(page.get_by_text("95 %: 0.30% to 4.30%")).to_be_visible()
        for name in ("good.png", "defects.png"):
            picture = page.locator(f"img[src*='{name}']")
            picture.scroll_into_view_if_needed()
            page.wait_for_function("name => document.querySelector(`img[src*='${name}']`).naturalWidth === 200", arg=name)
        set_tag(page, "qa.reason", "the same as the last batch")
        sync_api.expect(row_of(page, "qa.reason")).to_contain_text("the same as the last batch")
        edit_tag(page, "qa", "approved")
        sync_api.expect(row_of(page, "qa")).to_contain_text("approved")
        page.reload()
        sync_api.expect(row_of(page, "qa.by")).to_contain_text("ana", timeout=30_000)
        row_of(page, "qa.by").scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / "signed.png")
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Full report").click()
        report = opened.value.frame_locator("iframe").get_by_role("heading", name="Report of the batch")
        report.wait_for(timeout=30_000)
        opened.value.screenshot(path=tmp_path / "report.png")
    found = status(registry.vic, product, "1")
    assert (found.valid, found.by, found.reason) == (True, "ana", "the same as the last batch")


def test_others_read_why_they_may_not(
    registry: Registry, make_request: Callable[..., Registration], product: str, tmp_path: Path
) -> None:
    register(registry.trainer, make_request())
    for who, sentence in (
        (registry.trainer, "may not sign version 1"),
        (registry.vic, "'vic' (viewer) may not sign version 1"),
        (registry.ana, "cannot be approved without a reason: add tag 'qa.reason' first"),
    ):
        with page_of(who) as page:
            open_version(page, registry.url, product)
            edit_tag(page, "qa", "approved")
            sync_api.expect(page.get_by_text(sentence).first).to_be_visible(timeout=10_000)
            page.wait_for_timeout(400)  # the notice slides in
            page.screenshot(path=tmp_path / f"refused-{who.user}.png")
    assert status(registry.vic, product, "1").decision == "pending"
