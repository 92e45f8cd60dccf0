"""tf.data: only the part of a photograph that is cropped is decoded; tf.data sets its threads."""

import sys

import emulated
import tensorflow as tf

PACKAGES = ("tensorflow", "numpy")
HOW = {
    "thread": "`shuffle` of all files' names, `map` with `decode_and_crop_jpeg` "
    "(`INTEGER_FAST`, without fancy upscaling) and `tf.image.resize`, `AUTOTUNE`"
}


def work(path, number):
    data = tf.io.read_file(path)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(data), tf.zeros([1, 0, 4]), max_attempts=10,
        area_range=(0.08, 1.0), aspect_ratio_range=(3 / 4, 4 / 3), min_object_covered=0.0,
        use_image_if_no_bounding_boxes=True,
    )  # fmt: skip
    window = tf.concat([begin[:2], size[:2]], 0)
    image = tf.io.decode_and_crop_jpeg(
        data, window, 3, fancy_upscaling=False, dct_method="INTEGER_FAST"
    )
    resized = tf.image.resize(image, (emulated.SIDE, emulated.SIDE))
    return {"image": tf.cast(resized, tf.uint8), "id": number}


def batches(folder, cores, kind):
    paths = emulated.paths_of(folder)
    files = tf.data.Dataset.from_tensor_slices((paths, list(range(len(paths)))))
    records = files.shuffle(len(paths), seed=0).repeat().map(work, tf.data.AUTOTUNE)
    for batch in records.batch(emulated.BATCH).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield batch["id"]


if __name__ == "__main__":
    emulated.main(sys.modules["__main__"])
