"""The page and the lines show what a pipeline serves, and the page needs no network."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import feedrace
from feedrace.plugin import DataError
from feedrace_preview.commands import preview
from feedrace_preview.fields import rows_of, unchanged
from feedrace_preview.gather import gather
from feedrace_preview.page import page
from feedrace_preview.pictures import histogram, is_image, scatter, strip, thumbnails
from feedrace_preview.points import Point
from feedrace_preview.terminal import lines

CONFIG = """
seed = 1
batch_size = 4
source = {{ use = "memory", data = {{ image = {images}, label = [0, 1, 2, 3, 4, 5] }} }}
stages = [
    {{ use = "flip", field = "image", probability = 1.0 }},
    {{ use = "rescale", field = "image", scale = 0.5 }},
]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    images = np.arange(6 * 64).reshape(6, 8, 8).tolist()
    place = tmp_path_factory.mktemp("preview") / "six.toml"
    place.write_text(CONFIG.format(images=images))
    return str(place)


@pytest.fixture(scope="module")
def facts(config):
    return gather(config, seconds=0.01)


def test_each_point_has_the_batch_that_the_stages_up_to_it_make(facts):
    (stream,) = facts.streams
    assert [point.after for point in stream.points] == ["memory", "batching", "flip", "rescale"]
    source, batch, flipped, scaled = (point.fields["image"] for point in stream.points)
    assert np.array_equal(batch, source)
    assert np.array_equal(flipped, source[:, :, ::-1])
    assert np.array_equal(scaled, flipped * 0.5)
    assert stream.records.tolist() == [0, 1, 2, 3]
    assert stream.order.tolist() == [[i, i] for i in range(6)]
    assert stream.points[-1].spec["image"] == "float32[4, 8, 8]"


def test_the_page_shows_parts_pictures_records_and_time_without_network(facts):
    text = page(facts)
    assert not re.search(r"(src|href)=.?(http|//)|url\(|@import", text)
    assert text.count("data:image/png;base64,") == 3 * 4
    for words in ("builtin/<wbr>flip", "stage on batches, on the device", "label 3<br>record 3",
                  "A field times a scale plus an offset", "Records stacked in order",
                  "Where the time goes", "float32[4, 8, 8]",
                  "As before: image, label"):  # fmt: skip
        assert words in text
    opened: list[str] = []

    class Closes(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br", "wbr", "rect", "path"):
                opened.append(tag)

        def handle_endtag(self, tag):
            if tag not in ("rect", "path"):
                assert opened.pop() == tag

    Closes().feed(text)
    assert not opened


def test_the_terminal_shows_the_essentials(config):
    done = CliRunner().invoke(preview, [config, "--terminal", "--seconds", "0.01"])
    assert done.exit_code == 0, done.output
    assert "  stages[0]: builtin/flip on the device (feedrace" in done.output
    assert "  after memory: image int32[8, 8], label int32[]" in done.output
    assert not list(Path(config).parent.glob("*.html"))


def test_the_command_writes_the_page_beside_the_config(config):
    done = CliRunner().invoke(preview, [config, "--seconds", "0.01"])
    assert done.exit_code == 0, done.output
    assert Path(config).with_suffix(".html").read_text().startswith("<!doctype html>")


def test_options_that_make_no_sense_are_usage_errors(config, tmp_path):
    page = tmp_path / "page.html"
    for options, why in (
        (["--terminal", "-o", str(page)], "--terminal writes no page"),
        (["--seconds", "-3"], "-3.0 is not in the range x>=0"),
    ):
        done = CliRunner().invoke(preview, [config, *options])
        assert done.exit_code == 2 and why in done.output
    assert not page.exists()


@pytest.mark.together
def test_axes_that_vary_are_question_marks_as_in_a_repr(tmp_path):
    pytest.importorskip("feedrace_text")
    pytest.importorskip("feedrace_batchers")
    place = tmp_path / "texts.toml"
    place.write_text(
        'batch_size = 2\nsource = { use = "memory", data = { text = ["a", "bc"] } }\n'
        'stages = [{ use = "byte-tokens", field = "text", into = "tokens", keep = false }]\n'
        'batcher = { use = "bucket", fields = ["tokens"], boundaries = [4] }\n'
    )
    (stream,) = gather(str(place), seconds=0).streams
    assert stream.points[1].spec["tokens"] == "int32[?]"
    assert stream.points[2].spec["tokens"] == "int32[2, 4]"


def test_records_that_make_no_batch_yet_are_shown_one_by_one(tmp_path):
    place = tmp_path / "texts.toml"
    place.write_text(
        'batch_size = 2\nsource = { use = "memory", data = { text = ["a", "<b>", "ccc"] } }\n'
    )
    facts = gather(str(place), seconds=0.01)
    assert facts.streams[0].points[0].fields["text"].tolist() == ["a", "<b>"]
    assert "&lt;b&gt;" in page(facts)
    assert any("after batching: text text or bytes[2]" in line for line in lines(facts))


def _point(fields, records, names=()):
    return Point(after="", place="", spec={}, fields=fields, records=np.array(records), names=names)


def test_packed_tokens_have_the_colour_of_their_segment_and_padding_is_dim():
    fields = {
        "t": np.array([[104, 105, 32, 0]]),
        "t_segmentation": np.array([[1, 1, 2, 0]]),
        "t_position": np.array([[0, 1, 0, 0]]),
        "t_mask": np.array([[True, True, True, False]]),
        "valid_mask": np.array([True]),
    }
    text = rows_of(_point(fields, []), set())
    assert text.count('class="t0" ') == 2 and 'class="t1" title="32, segment 2"' in text
    assert 'class="t0 padding" title="0, segment 0"' in text
    assert "2 segments, 3 of 4 tokens" in text
    assert "t_mask" not in text


TEXTS = """
batch_size = 2
source = { use = "memory", data = { text = ["a <b>\\n", "c"] } }
stages = [{ use = "byte-tokens", field = "text", into = "tokens", keep = false, eos = 256 }]
batcher = { use = "pack", fields = { tokens = 10 } }
"""
PADDED = """
batch_size = 2
source = { use = "memory", data = { text = ["a <b>\\n", "c"], length = [6, 1] } }
stages = [
    { use = "byte-tokens", field = "text", into = "tokens", keep = false, eos = 256 },
    { use = "rescale", field = "length", scale = 0.5 },
]
batcher = { use = "bucket", fields = ["tokens"], boundaries = [8] }
"""


def _articles(place, config):
    """Return what a page shows at each point."""
    place.write_text(config)
    return page(gather(str(place), seconds=0)).split("<article>")[1:]


@pytest.mark.together
def test_tokens_of_bytes_are_text_with_other_ids_in_brackets(tmp_path):
    pytest.importorskip("feedrace_text")
    pytest.importorskip("feedrace_batchers")
    place = tmp_path / "texts.toml"
    _, record, batch = _articles(place, TEXTS)
    assert "int32[7] a\u2423&lt;b&gt;\\n&lt;256&gt;</td>" in record
    shown = re.findall(r'class="(t\d(?: padding)?)" title="(\w+), segment \d">(.*?)</span>', batch)
    assert shown[:7] == [("t0", "97", "a"), ("t0", "32", "\u2423"), ("t0", "60", "&lt;"),
                         ("t0", "98", "b"), ("t0", "62", "&gt;"), ("t0", "10", "\\n"),
                         ("t0", "256", "&lt;256&gt;")]  # fmt: skip
    shifted = TEXTS.replace("eos = 256", "bos = 1, offset = 3")
    batch = _articles(place, shifted)[-1]
    assert 'title="1, segment 1">&lt;1&gt;</span>' in batch
    assert 'title="100, segment 1">a</span>' in batch


def test_ids_that_are_no_bytes_are_numbers():
    fields = {"t": np.array([[104, 105]]), "t_segmentation": np.array([[1, 1]])}
    assert ">104</span>" in rows_of(_point(fields, []), set())


@pytest.mark.together
def test_padded_tokens_have_their_padding_dimmed_and_their_record(tmp_path):
    pytest.importorskip("feedrace_text")
    pytest.importorskip("feedrace_batchers")
    _, _, batch, last = _articles(tmp_path / "texts.toml", PADDED)
    assert "record 0, 7 of 8 tokens" in batch and "record 1, 2 of 8 tokens" in batch
    assert batch.count('class="t0" ') == 9 and batch.count('class="t0 padding" title="0">0<') == 7
    assert 'title="256">&lt;256&gt;</span>' in batch and "[ True" not in batch
    assert 'class="t0" ' not in last and "As before: tokens, tokens_mask" in last


def test_a_long_row_of_tokens_says_that_there_are_more():
    fields = {"t": np.zeros((1, 200), int), "t_mask": np.ones((1, 200), bool)}
    assert "</span>  ...</p>" in rows_of(_point(fields, []), set())


def test_only_what_looks_like_an_image_is_one():
    assert is_image(np.zeros((2, 8, 8, 3), np.uint8)) and is_image(np.zeros((2, 9, 8)))
    assert not is_image(np.zeros((2, 8, 8, 5))) and not is_image(np.zeros((2, 7, 8)))
    assert not is_image(np.array(["a", "b"], object))
    encoded = np.array([b"\xff\xd8\xff damaged"], object)
    assert is_image(encoded) and len(thumbnails(encoded)[0]) == 1
    assert not is_image(np.array([["a", "b"]], object))


def test_drawings_are_empty_without_numbers():
    assert histogram(np.array([np.nan])) == "" and scatter(np.empty((0, 2), np.int64)) == ""
    assert "from 1 to 3, mean 2" in histogram(np.array([1, 2, 3]))
    assert strip([("a", 0), ("b", 1)], {"a": 0, "b": 1}).count("<rect") == 2


def test_fields_are_compared_by_value():
    one = {
        "n": np.array([np.nan, 1]),
        "x": np.array([1, 2]),
        "t": np.array(["a", None], object),
        "y": np.zeros(2),
    }
    other = {"x": np.array([1, 2], np.int32), "t": one["t"].copy(), "y": np.ones(2)}
    other["n"] = one["n"].copy()
    assert unchanged(one, other) == {"n", "x", "t"}


def test_dark_images_are_made_brighter_and_the_page_says_how():
    dark = np.zeros((2, 8, 8), np.uint8)
    dark[1, 0, 0] = 16
    assert thumbnails(dark)[1] == "from 0 (black) to 16 (white)"
    assert thumbnails(dark * 15)[1] == ""
    photograph = np.zeros((1, 100, 90, 3), np.uint8) + 200
    assert thumbnails(photograph)[0][0].startswith("data:image/jpeg;base64,")


def test_rows_name_their_classes_records_and_what_is_left_out():
    fields = {
        "image": np.full((3, 8, 8), 200, np.uint8),
        "label": np.array([1, 0, 7]),
        "valid_mask": np.array([True, False, False]),
    }
    text = rows_of(_point(fields, [4, 5], ("cat", "dog")), set())
    for words in ("label 1 dog<br>record 4", "label 0 cat<br>record 5, left out",
                  "label 7<br>padding"):  # fmt: skip
        assert words in text
    assert text.count("<figure class=padding>") == 2
    windows = {"x": np.arange(6).reshape(2, 3)}
    text = rows_of(_point(windows, [[0, 1, 2], [1, 2, 3]]), set())
    assert "records 0, 1, 2" in text and "histogram from 0 to 5" in text


class _Drawn:
    """A record stage that draws a number."""

    on = "record"
    stochastic = True

    def __init__(self, config=None, **_):
        self.config = config

    def __call__(self, record, rng):
        return {**record, "drawn": np.float32(rng.random())}

    def spec(self, spec):
        return {**spec, "drawn": np.zeros((), np.float32)}


def test_random_stages_draw_for_a_record_what_they_draw_in_the_batch(tmp_path):
    """In whatever order the records come."""
    place = tmp_path / "drawn.toml"
    place.write_text(
        "seed = 3\nbatch_size = 4\nstages = [{ use = 'drawn' }, { use = 'rescale', field = 'y' }]\n"
        "source = { use = 'memory', data = { x = [0, 1, 2, 3, 4], y = [5, 6, 7, 8, 9] },"
        " shuffle = true }\n"
    )
    with feedrace.temporary():
        feedrace.register("stage", "drawn", _Drawn)
        (stream,) = gather(str(place), seconds=0.01).streams
    source, drawn, batch, last = stream.points
    assert drawn.records.tolist() == stream.records.tolist() == source.fields["x"].tolist()
    assert drawn.records.tolist() != [0, 1, 2, 3]
    assert drawn.fields["drawn"].tolist() == batch.fields["drawn"].tolist()
    assert drawn.fields["drawn"].tolist() == last.fields["drawn"].tolist()
    assert len(set(drawn.fields["drawn"].tolist())) == 4


_PRESSED = """<script>
const press = (key, more) => document.dispatchEvent(new KeyboardEvent("keydown", { key, ...more }));
const part = () => document.activeElement.id;
const back = () => getComputedStyle(document.body).backgroundColor;
const found = { fits: document.documentElement.scrollWidth <= innerWidth, backs: [back()] };
found.parts = [..."kjkjj"].map((key) => (press(key), part()));
for (const _ of document.querySelectorAll("section")) press("j");
found.last = part();
for (const key of "tt") { press(key); found.backs.push(back()); }
press("t", { ctrlKey: true });
found.backs.push(back());
document.getElementById("theme").click();
found.backs.push(back());
document.title = JSON.stringify(found);
</script>"""
_LIGHT, _DARK = "rgb(255, 255, 255)", "rgb(20, 23, 26)"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "flags", "before", "after"),
    [(380, [], _LIGHT, _DARK), (1100, ["--force-dark-mode"], _DARK, _LIGHT)],
)
def test_the_page_fits_a_phone_and_a_desk_and_obeys_keys_in_a_browser(
    facts, tmp_path, width, flags, before, after
):
    place = tmp_path / "page.html"
    text = page(facts)
    place.write_text(text.replace("</body>", f"{_PRESSED}</body>"))
    shown = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu",
         "--disable-background-networking", f"--window-size={width},800", *flags, "--dump-dom",
         place.as_uri()],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    found = json.loads(re.findall("<title>(.*)</title>", shown.stdout)[0])
    assert found["fits"]
    assert found["parts"] == ["part0", "part1", "part0", "part1", "part2"]
    assert found["last"] == f"part{text.count('<section') - 1}"
    assert found["backs"] == [before, after, before, before, after]


class _Damaged:
    """A record stage that refuses a number."""

    on = "record"

    def __init__(self, config=None, **_):
        self.config = config

    def __call__(self, record):
        if record["x"] == 9:
            raise DataError("nine is <damaged>")
        return record

    def spec(self, spec):
        return spec


NUMBERS = """
batch_size = 4
stages = [{ use = "damaged" }]
source = { use = "memory", data = { x = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] } }
"""


def _preview_with_a_damaged_record(place, config, *options):
    place.write_text(config)
    with feedrace.temporary():
        feedrace.register("stage", "damaged", _Damaged)
        return CliRunner().invoke(preview, [str(place), *options])


def test_an_error_after_the_first_batch_is_shown_with_its_record(tmp_path):
    place = tmp_path / "numbers.toml"
    done = _preview_with_a_damaged_record(place, NUMBERS)
    assert done.exit_code == 0, done.output
    times = place.with_suffix(".html").read_text().split("<h2>Where the time goes</h2>")[1]
    times = times.partition("</section>")[0]
    assert "2 batches" in times and "nine is &lt;damaged&gt;" in times and "record 9" in times
    done = _preview_with_a_damaged_record(place, NUMBERS, "--terminal")
    assert done.exit_code == 0, done.output
    assert "  nine is <damaged>\n" in done.output and "record 9" in done.output


def test_an_error_in_the_first_batch_ends_the_preview_without_a_page(tmp_path):
    place = tmp_path / "numbers.toml"
    done = _preview_with_a_damaged_record(place, NUMBERS.replace("[0,", "[9,"))
    assert done.exit_code == 1 and "nine is <damaged>" in done.output and "record 0" in done.output
    assert not place.with_suffix(".html").exists()


@pytest.mark.together
def test_an_error_before_the_first_batch_of_another_stream_leaves_the_others_shown(tmp_path):
    pytest.importorskip("feedrace_interleave")
    place = tmp_path / "numbers.toml"
    evaluated = """
[scheduler]
use = "interleaved"
[[scheduler.callbacks]]
stream = "valid"
every_n_updates = 3
source = { use = "memory", data = { x = [1, 2] } }
"""
    done = _preview_with_a_damaged_record(place, NUMBERS + evaluated, "--seconds", "0")
    assert done.exit_code == 0, done.output
    text = place.with_suffix(".html").read_text()
    assert "after damaged" in text and "No batch of it came within the first steps" in text
    assert "nine is &lt;damaged&gt;" in text and "record 9" in text
