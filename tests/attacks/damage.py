"""What can happen to a file: functions of a `random.Random` and its path."""


def flipped(rng, file):
    data = bytearray(file.read_bytes())
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def cut(rng, file):
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def removed(rng, file):
    file.unlink()
