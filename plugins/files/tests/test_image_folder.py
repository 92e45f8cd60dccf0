import os

import numpy as np
import pytest

from feedrace import Pipeline, create, record
from feedrace.errors import ConfigError, DataError
from feedrace.plugin import all_records
from feedrace_testing.sample_files import grey_image


def images_of(path, **fields):
    return create("source", "image-folder", path=path if isinstance(path, list) else str(path),
                  **fields)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two classes, one with a folder in it, and files that are no images."""
    for i, name in enumerate(["dog/a.jpg", "cat/b.PNG", "cat/deep/c.webp", "dog/d.gif"]):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey_image(i))
    for name in ("cat/notes.txt", "cat/.hidden.jpg", "Thumbs.db"):
        (tmp_path / "train" / name).write_bytes(b"no image")
    return tmp_path / "train"


def test_classes_are_the_sorted_folders(folder):
    source = images_of(folder)
    records = source.fetch(np.arange(len(source)))
    assert records["path"].tolist() == ["cat/b.PNG", "cat/deep/c.webp", "dog/a.jpg", "dog/d.gif"]
    assert records["label"].tolist() == [0, 0, 1, 1]
    assert records["label"].dtype == np.int32
    assert records["image"].tolist() == [grey_image(i) for i in (1, 2, 0, 3)]
    assert source.classes == ("cat", "dog")
    assert "there are 2 classes: cat, dog" in source.details()


def test_a_folder_without_classes_has_no_label(folder):
    source = images_of(folder / "dog")
    assert sorted(source.element_spec()) == ["image", "path"]
    assert source.classes == ()
    assert source.fetch(np.array([1]))["path"].tolist() == ["d.gif"]


def test_an_image_outside_the_classes_is_named(folder):
    (folder / "lost.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"lost\.jpg lies in no folder of a class"):
        images_of(folder)


def test_columns_choose_and_nothing_else_is_read(folder):
    source = images_of(folder, columns=["label"])
    for path in folder.rglob("*.*"):
        if path.is_file():
            path.unlink()
    assert source.fetch(np.arange(4))["label"].tolist() == [0, 0, 1, 1]
    assert list(source.element_spec()) == ["label"]


def test_labels_and_paths_of_all_records_are_at_hand(folder):
    source = images_of(folder)
    assert source.column("label").tolist() == [0, 0, 1, 1]
    assert source.column("path").tolist()[0] == "cat/b.PNG"
    assert source.column("image").tolist()[0] == grey_image(1)


def test_patterns_and_lists_have_names_below_their_own_folders(folder, tmp_path):
    by_pattern = images_of(str(folder / "*" / "*.jpg"))
    assert by_pattern.fetch(np.array([0]))["path"].tolist() == ["dog/a.jpg"]
    other = tmp_path / "more" / "cat" / "z.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"z")
    both = images_of([str(folder), str(tmp_path / "more")])
    assert both.fetch(np.array([4]))["path"].tolist() == ["cat/z.png"]
    assert both.column("label").tolist() == [0, 0, 1, 1, 0]
    relative = images_of(os.path.relpath(folder))
    assert relative.column("path").tolist() == images_of(folder).column("path").tolist()


def test_labels_that_are_asked_for_need_folders_of_classes(folder):
    with pytest.raises(ConfigError, match="'label' is no column of image-folder without folders"):
        images_of(str(folder / "dog" / "a.jpg"), columns=["image", "label"])


def csv(folder, text):
    (folder / "labels.csv").write_text(text)
    return "labels.csv"


def test_labels_come_from_a_csv_file(folder):
    rows = "cat/b.PNG,furry\ncat/deep/c.webp,small\ndog/a.jpg,furry\ndog/d.gif,small\n"
    source = images_of(folder, labels=csv(folder, "\ufefffile,kind\r\n" + rows))
    assert (source.column("label").tolist(), source.classes) == ([0, 1, 0, 1], ("furry", "small"))
    wide = "id,kind,file\n" + "".join(
        f"{i},{10 * i},{name}\n"
        for i, name in enumerate(["dog/a.jpg", "cat/b.PNG", "cat/deep/c.webp", "dog/d.gif"])
    )
    fields = {"labels": csv(folder, wide), "file_column": "file", "label_column": "kind"}
    source = images_of(folder, **fields)
    assert (source.column("label").tolist(), source.classes) == ([10, 20, 0, 30], ())


def test_one_error_names_all_rows_that_do_not_fit(folder):
    text = "file,kind\ncat/b.PNG,1\ncat/b.PNG,2\nbird/x.jpg,1\ndog/a.jpg,1\n"
    with pytest.raises(DataError) as caught:
        images_of(folder, labels=csv(folder, text))
    message = str(caught.value)
    assert "2 images have no row: 'cat/deep/c.webp', 'dog/d.gif'" in message
    assert "1 rows name no image: 'bird/x.jpg'" in message
    assert "1 images have several rows: 'cat/b.PNG'" in message


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, "is empty"),
        ("a,b,c\n1,2,3\n", {}, r"has the columns a, b, c; name one in file_column"),
        ("a,b,c\n1,2,3\n", {"file_column": "a"}, r"name one in label_column"),
        (
            "file,kind\n1,2\n",
            {"file_column": "file", "label_column": "kin"},
            r"no column 'kin'; did you mean 'kind'",
        ),
        ("file,kind\n1,2,3\n", {}, r"row 2: 3 columns, and 2 headers"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_an_error(folder, text, fields, message):
    with pytest.raises(DataError, match=message):
        images_of(folder, labels=csv(folder, text), **fields)


def test_columns_of_a_csv_file_need_one(folder):
    with pytest.raises(ConfigError, match="file_column: given without labels"):
        images_of(folder, file_column="a")


def test_labels_that_no_int32_holds_are_an_error(folder):
    names = ["cat/b.PNG", "cat/deep/c.webp", "dog/a.jpg", "dog/d.gif"]
    text = "file,kind\n" + "".join(f"{name},{2**31}\n" for name in names)
    with pytest.raises(DataError, match=r"label '2147483648' does not fit an int32"):
        images_of(folder, labels=csv(folder, text))


def test_an_empty_image_is_a_bad_record(folder):
    (folder / "dog" / "a.jpg").write_bytes(b"")
    source = images_of(folder, on_error="skip", error_budget=1)
    assert source.fetch(np.array([1, 2]))["label"].tolist() == [0, 0]
    assert source.invalid_rows(np.array([1, 2])).tolist() == [False, True]


def test_identity_changes_with_names_labels_and_contents(folder):
    first = images_of(folder).identity()
    assert images_of(folder).identity() == first
    image = folder / "dog" / "a.jpg"
    kept = image.read_bytes()
    image.write_bytes(kept[:-1] + b"!")
    second = images_of(folder).identity()
    image.write_bytes(kept)
    os.renames(folder / "dog" / "d.gif", folder / "cat" / "d.gif")
    assert len({first, second, images_of(folder).identity()}) == 3


def test_identity_of_many_images_reads_none(folder, monkeypatch):
    from feedrace_files import image_folder

    monkeypatch.setattr(image_folder, "_FEW", 3)
    source = images_of(folder)
    first = source.identity()
    (folder / "dog" / "a.jpg").write_bytes(b"longer than it was before, by far")
    assert images_of(folder).identity() != first


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"has no files ending with \.jpg"):
        images_of(tmp_path)


def test_an_empty_image_is_an_error_before_training(folder):
    for name in ("dog/a.jpg", "cat/b.PNG"):
        (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.PNG is empty, as are 1 more; .* 'skip'"):
        images_of(folder)
    assert len(images_of(folder, columns=["label", "path"])) == 4
    source = images_of(folder, on_error="skip", error_budget=2)
    source.fetch(np.arange(4))
    assert [bad.reason for bad in source.bad_records] == ["the file is empty"] * 2


def test_a_folder_may_be_an_address_of_this_machine(folder):
    source = images_of(f"file://{folder}")
    assert source.column("path").tolist()[0] == "cat/b.PNG"
    assert source.identity() == images_of(folder).identity()


def _fails_at_gif(record):
    if record["image"] == grey_image(3):
        raise ValueError("I know no GIF")
    return record


def test_an_error_of_a_record_stage_names_the_file(folder):
    """Whatever fields the record has."""
    source = images_of(folder, columns=["image", "label"])
    stages = [record(_fails_at_gif)]
    place = f"record 3 is record 0 of {folder}/dog/d.gif"
    with pytest.raises(ValueError, match="I know no GIF") as caught:
        list(Pipeline(source=source, stages=stages, batch_size=2))
    assert place in caught.value.__notes__
    with pytest.raises(ValueError, match="I know no GIF") as caught:
        list(all_records(source, stages).sample(np.arange(4)))
    assert place in caught.value.__notes__
