"""The page in a real browser."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.serving.server import bright
from tests.serving.server.process import Server

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--window-size=1200,900")
WAIT_S = 30


class Page:
    """A browser that shows the page."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def __call__(self, identifier: str) -> Any:
        return self.driver.find_element("id", identifier)

    def until(self, check: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (found := check()):
            assert time.monotonic() < deadline, self("told").text
            time.sleep(0.05)
        return found

    def drop(self, *paths: Path) -> None:
        self("files").send_keys("\n".join(map(str, paths)))

    def wait_for(self, text: str) -> None:
        self.until(lambda: text in self("told").text)

    def press(self, key: str) -> None:
        self.driver.find_element("tag name", "body").send_keys(key)

    def downloaded(self, button: str, name: str) -> bytes:
        self(button).click()
        path = self.downloads / name
        self.until(lambda: path.is_file() and path.stat().st_size)
        return path.read_bytes()

    def pixel(self, canvas: str, x: int, y: int) -> list[int]:
        read = "document.getElementById(arguments[0]).getContext('2d').getImageData(arguments[1], arguments[2], 1, 1)"
        script = f"return [...{read}.data]"
        return list(self.driver.execute_script(script, canvas, x, y))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*QUIET, *OFFLINE, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver, downloads
    driver.quit()


@pytest.fixture
def page(browser: tuple[Any, Path], server: Server) -> Iterator[Page]:
    driver, downloads = browser
    driver.get(server.url)
    found = Page(driver, downloads)
    found.until(lambda: len(found("first").find_elements("tag name", "option")) == 3)
    yield found
    assert [line for line in driver.get_log("browser") if line["level"] == "SEVERE"] == []
    for path in downloads.iterdir():
        path.unlink()


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "grey.png", tmp_path / "white.png"]
    for path, level in zip(paths, (100, 220), strict=True):
        path.write_bytes(bright.frame(level, 96, 120))
    return paths


def test_a_frame_is_shown_with_its_contour_and_its_area(page: Page, frames: list[Path]) -> None:
    page.drop(*frames)
    page.wait_for("frames: 2")
    assert page("told-first").text.startswith("version 1 · defect 50.")
    page.driver.find_elements("css selector", "#frames button")[0].click()
    page.until(lambda: page.pixel("view-first", 30, 48)[0] > 130)
    assert page.pixel("view-first", 30, 48)[1] < 100
    assert page.pixel("view-first", 100, 48)[:3] == [0, 0, 0]


def test_the_threshold_slider_and_zero_for_the_model_s_threshold(page: Page, frames: list[Path]) -> None:
    page.drop(frames[0])
    page.wait_for("frames: 1")
    initial = page("told-first").text
    page.driver.execute_script("level.value = 255; level.dispatchEvent(new Event('input'))")
    assert "defect 0.0 %" in page("told-first").text
    page.press("0")
    assert page("told-first").text == initial
    page.press("+")
    page.press("-")
    assert page("told-first").text == initial
    assert page("chosen").text == "0.500"


def test_two_versions_side_by_side(page: Page, frames: list[Path]) -> None:
    page.drop(frames[0])
    page.wait_for("frames: 1")
    assert not page("beside").is_displayed()
    page.press("c")
    page.press("c")
    page.until(lambda: page("told-second").text.startswith("version 2"))
    assert "defect 0.0 %" in page("told-second").text
    assert "defect 0.0 %" not in page("told-first").text


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
def test_saved_files_equal_those_of_predict(page: Page, frames: list[Path], server: Server) -> None:
    from tests.serving.server.process import predict
    from tests.serving.server.test_rest import mask

    page.drop(*frames)
    page.wait_for("frames: 2")
    saved = cv2.imdecode(np.frombuffer(page.downloaded("save-mask", "white_mask.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(saved[..., 0], mask(predict(server, frames[1].read_bytes())))
    overlay = page.downloaded("save-overlay", "white_overlay.png")
    assert cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_COLOR).shape == (96, 120, 3)
    coco_file = json.loads(page.downloaded("save-coco", "defects.coco.json"))
    assert [image["file_name"] for image in coco_file["images"]] == ["grey.png", "white.png"]
    from pycocotools import mask as coco

    for annotation, path in zip(coco_file["annotations"], frames, strict=True):
        packed = coco.frPyObjects(annotation["segmentation"], 96, 120)
        np.testing.assert_array_equal(coco.decode(packed), mask(predict(server, path.read_bytes())) > 0)
        assert annotation["area"] == coco.area(packed)
        assert annotation["bbox"] == coco.toBbox(packed).tolist()


def test_a_short_clip_becomes_frames(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "pipe.webm"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP90"), 4, (120, 96))
    for level in [100] * 6 + [220] * 6:
        video.write(cv2.imdecode(np.frombuffer(bright.frame(level, 96, 120), np.uint8), cv2.IMREAD_COLOR))
    video.release()
    page.drop(path)
    page.wait_for("frames: 3")
    names = [button.text for button in page.driver.find_elements("css selector", "#frames button")]
    assert names == ["pipe_0000s.jpg", "pipe_0001s.jpg", "pipe_0002s.jpg"]


def test_a_file_that_is_no_image_is_reported(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    path.write_bytes(b"no picture")
    page.drop(path)
    page.wait_for("cannot read the image")
    assert "<img" in page("told").text


def test_keyboard_and_both_languages(page: Page, frames: list[Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    page.drop(*frames)
    page.wait_for("frames: 2")
    page.press(Keys.ARROW_LEFT)
    page.until(lambda: page.driver.find_element("css selector", "[aria-current=true]").text == "grey.png")
    page("language").send_keys(Keys.ENTER)
    page.until(lambda: "Версия" in page.driver.find_element("tag name", "header").text)
    assert page.driver.find_element("tag name", "html").get_attribute("lang") == "ru"
    assert page("told-first").text.startswith("версия 1 · дефект")
    empty = page.driver.execute_script(
        "return [...document.querySelectorAll('[data-word]')].filter((e) => !e.textContent).map((e) => e.dataset.word)"
    )
    assert empty == []


def test_the_page_fits_a_phone(page: Page, frames: list[Path]) -> None:
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        page.drop(*frames)
        page.wait_for("frames: 2")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_no_request_leaves_the_server(page: Page, frames: list[Path], server: Server) -> None:
    page.drop(*frames)
    page.wait_for("frames: 2")
    urls = {
        json.loads(line["message"])["message"]["params"]["request"]["url"]
        for line in page.driver.get_log("performance")
        if 'Network.requestWillBeSent"' in line["message"]
    }
    assert urls
    assert [url for url in urls if url.startswith("http") and not url.startswith(server.url)] == []
    policy = page.driver.execute_script(
        "return fetch('/').then((answer) => answer.headers.get('content-security-policy'))"
    )
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy


def test_a_script_in_the_page_s_text_would_not_run(page: Page) -> None:
    page.driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s)"
    )
    assert page.driver.execute_script("return window.ran") is None
    page.driver.get_log("browser")  # the refusal is logged, as it should be
