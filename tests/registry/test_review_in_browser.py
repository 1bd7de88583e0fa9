"""The review page as people use it: two people, a keyboard, a tablet, a dark hall."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.client.flags import open_flags
from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.users import add_user
from registry.client.versions import Registration, register, version_of

from ..page_layout import layout_faults
from .conftest import PASSWORD, Registry, request_for, running
from .test_sign_off_in_browser import CHROMIUM, page_of, sync_api

pytestmark = [
    pytest.mark.browser,
    pytest.mark.servers,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM} on this machine"),
]
Make = Callable[..., Registration]


def address(registry: Registry, product: str) -> str:
    return f"{registry.url}/changeover/review?product={product}&version=1"


def read_the_report(page: "sync_api.Page") -> None:
    page.get_by_role("button", name="Open the report here").click()
    sync_api.expect(page.frame_locator("iframe").get_by_role("heading", name="Report of the batch")).to_be_visible()


def test_the_trainer_reads_why_not_and_quality_assurance_approves(  # noqa: PLR0915 - one way through the page
    registry: Registry, make_request: Make, product: str, tmp_path: Path
) -> None:
    version = register(registry.trainer, make_request())
    with page_of(registry.trainer) as page:
        page.goto(address(registry, product))
        sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        sync_api.expect(page.get_by_text("'trainer' (trainer) may not sign version 1")).to_be_visible()
        sync_api.expect(page.get_by_role("button", name="Open the report here")).to_be_enabled()  # the page's script has run
        # Whoever presses it all the same, with the page's own tools, meets the server.
        page.get_by_label("Reason").fill("my own")
        page.get_by_label("Your password").fill(registry.trainer.password)
        page.evaluate("document.getElementById('approve').disabled = false")
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.locator("#answer")).to_contain_text("only role qa")
    with page_of(registry.ana) as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{registry.url}/changeover/review/of?run={version.run_id}")
        assert page.url == address(registry, product)
        sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        sync_api.expect(page.get_by_text("Open the report first")).to_be_visible()
        read_the_report(page)
        page.wait_for_function("() => [...document.images].every(i => i.complete && i.naturalWidth === 200)")
        page.get_by_label("Reason").fill("  ")
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.locator("#answer")).to_contain_text("Say why first")
        canvas = page.locator("figure[data-picture='defects.png'] .canvas").bounding_box()
        assert canvas is not None
        page.mouse.move(canvas["x"] + 20, canvas["y"] + 10)
        page.mouse.down()
        page.mouse.move(canvas["x"] + 100, canvas["y"] + 40)
        page.mouse.up()
        page.keyboard.type("false alarm here")
        page.get_by_label("Reason").fill("all worst cases looked at")
        page.get_by_label("What your signature means").select_option("responsible")
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.locator("#answer")).to_contain_text("asks again who you are")
        page.get_by_label("Your password").fill("not this one")
        page.screenshot(path=tmp_path / "review.png", full_page=True)
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.get_by_label("Your password")).to_have_value(
            ""
        )  # emptied with the answer: the words before fit, too
        sync_api.expect(page.locator("#answer")).to_contain_text("password")
        assert status(registry.vic, product, "1").decision == "pending"
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.locator("#state")).to_contain_text("approved")
        sync_api.expect(page.locator(".signature")).to_contain_text("Ana Example (ana)")
        sync_api.expect(page.locator(".signature")).to_contain_text("meaning: responsible; on the review page")
        sync_api.expect(page.get_by_role("button", name="Withdraw the approval")).to_be_enabled()
        sync_api.expect(page.get_by_label("remark on box 1")).to_have_value("false alarm here")
        page.screenshot(path=tmp_path / "approved.png", full_page=True)
        assert [error for error in errors if "403 (Forbidden)" not in error] == [], "the wrong password apart"
    assert status(registry.vic, product, "1").valid
    (note,) = json.loads(version_of(registry.vic, product, "1").tags["qa.notes"])
    assert (note["picture"], note["text"]) == ("defects.png", "false alarm here") and note["left"] < note["right"]
    assert promote(registry.promoter, product).version == "1"


def test_by_keyboard_alone_on_a_tablet(registry: Registry, make_request: Make, product: str, tmp_path: Path) -> None:
    register(registry.trainer, make_request())
    with page_of(registry.bo) as page:
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 820, "height": 1180})
        page.goto(address(registry, product))
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
            "no sideways scrolling"
        )
        for button in page.get_by_role("button").all():
            box = button.bounding_box()
            assert box is not None and box["height"] >= 44, "large enough for a gloved finger"
        page.locator("figure[data-picture='good.png'] .add").press("Enter")
        page.keyboard.type("a hair")
        page.get_by_role("button", name="box 1").press("ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        page.get_by_role("button", name="Open the report here").press("Enter")
        page.get_by_label("Reason").press_sequentially("misses hairs")
        page.get_by_label("Your password").press_sequentially(PASSWORD)
        sync_api.expect(page.get_by_role("button", name="Reject")).to_be_enabled()
        page.screenshot(path=tmp_path / "tablet.png", full_page=True)
        page.get_by_role("button", name="Reject").press("Enter")
        sync_api.expect(page.locator("#state")).to_contain_text("rejected")
    tags = version_of(registry.vic, product, "1").tags
    (note,) = json.loads(tags["qa.notes"])
    assert (tags["qa"], tags["qa.by"], note["text"]) == ("rejected", "bo", "a hair")
    assert (round(note["left"], 2), round(note["right"], 2), round(note["bottom"], 2)) == (0.41, 0.61, 0.61)


def test_no_button_can_be_pressed_before_the_page_answers_it(registry: Registry, make_request: Make, product: str) -> None:
    """A press before the script has come was lost, and with it a password that had been typed."""
    register(registry.trainer, make_request())
    with page_of(registry.ana) as page:
        held: list[sync_api.Route] = []
        page.route("**/changeover/*.js", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it is given
        for place in (f"{registry.url}/changeover/password", address(registry, product)):
            with page.expect_request("**/changeover/*.js"):
                page.goto(place, wait_until="commit")
            buttons = page.get_by_role("button")
            sync_api.expect(buttons.first).to_be_visible()
            assert all(button.is_disabled() for button in buttons.all())
            held.pop().continue_()
            sync_api.expect(buttons.first).to_be_enabled()


def test_failed_gates_are_waived_by_one_and_approved_by_another(registry: Registry, make_request: Make, product: str) -> None:
    register(registry.trainer, make_request(passed=False))
    with page_of(registry.ana) as page:
        page.goto(address(registry, product))
        sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        read_the_report(page)
        page.get_by_label("Reason").fill("the lamp flickered on the lock images")
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Waive the gates").press("Enter")
        sync_api.expect(page.get_by_text("Waived by Ana Example (ana)")).to_be_visible()
        sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    with page_of(registry.bo) as page:
        page.goto(address(registry, product))
        assert page.get_by_label("Reason").input_value() == "", "ana's words are not bo's"
        read_the_report(page)
        page.get_by_label("Reason").fill("I agree")
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Approve").press("Enter")
        sync_api.expect(page.locator("#state")).to_contain_text("approved")
    assert promote(registry.promoter, product).version == "1"


def test_the_whole_way_of_two_people_in_a_strict_plant(tmp_path: Path) -> None:
    """A first password, its change, the report, the signature, a flag and its confirmation, a withdrawal."""
    with running(tmp_path / "state", signature="strict") as registry:
        first = add_user(registry.admin, "eva", None, "qa", "Eva Huber")
        register(registry.trainer, request_for(tmp_path, "bolt", "a"))
        with page_of(replace(registry.ana, user="eva", password=first.password)) as page:
            page.goto(address(registry, "bolt"))
            sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
            sync_api.expect(page.get_by_text("Your password was set by admin")).to_be_visible()
            page.get_by_role("link", name="Change it").click()
            page.get_by_label("Present password").fill(first.password)
            page.get_by_label("New password, at least").fill(PASSWORD)
            page.get_by_label("New password once more").fill(PASSWORD)
            page.screenshot(path=tmp_path / "password.png", full_page=True)
            page.route("**/update-password", lambda route: route.abort())
            page.get_by_role("button", name="Change it").click()
            sync_api.expect(page.locator("#answer")).to_contain_text("The registry did not answer")
            page.unroute("**/update-password")
            page.get_by_role("button", name="Change it").click()
            sync_api.expect(page.locator("#answer")).to_contain_text("The password is changed")
        with page_of(replace(registry.ana, user="eva")) as page:
            page.goto(address(registry, "bolt"))
            assert layout_faults(page) == []
            page.set_viewport_size({"width": 1400, "height": 1000})
            sync_api.expect(page.locator("#serve")).to_contain_text("changeover serve does not run")
            read_the_report(page)
            page.get_by_label("Reason").fill("all worst cases looked at")
            page.get_by_label("Your password").fill(PASSWORD)
            page.get_by_role("button", name="Approve").press("Enter")
            sync_api.expect(page.locator("#state")).to_contain_text("approved")
            sync_api.expect(page.get_by_text("To be confirmed")).to_contain_text("of 'eva' since 'admin' could log in")
            page.screenshot(path=tmp_path / "flagged.png", full_page=True)
        assert [flag.subject for flag in open_flags(registry.bo)] == ["eva"]
        assert promote(registry.promoter, "bolt").version == "1"
        with page_of(registry.bo) as page:
            page.goto(address(registry, "bolt"))
            sync_api.expect(page.locator("#way")).to_contain_text("The line uses it")
            page.get_by_label("Reason").fill("a customer complains")
            page.get_by_label("Your password").fill(PASSWORD)
            page.get_by_role("button", name="Withdraw the approval").press("Enter")
            sync_api.expect(page.locator("#state")).to_have_text("pending")
            sync_api.expect(page.locator("#way")).to_contain_text("It waits for a signature")
            assert layout_faults(page) == []


def test_an_exchanged_report_is_not_shown_and_not_signed(
    registry: Registry, make_request: Make, product: str, tmp_path: Path
) -> None:
    version = register(registry.trainer, make_request())
    (report,) = registry.state.glob(f"artifacts/*/{version.run_id}/artifacts/report.html")
    report.write_text("<h1>All is well</h1>")
    with page_of(registry.ana) as page:
        page.goto(address(registry, product))
        sync_api.expect(page.locator("#exchanged")).to_contain_text("the report of version 1")
        sync_api.expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        assert page.locator("figure").count() == 0 and page.get_by_text("Image AUROC").count() == 0
        page.screenshot(path=tmp_path / "exchanged.png", full_page=True)
    assert sign_off(registry.ana, product, "1", "rejected", "the report is not what was registered").decision == "rejected"
