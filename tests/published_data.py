"""Small folders in the layouts of published data sets."""

import h5py
import numpy as np
from aedat_files import CAER, DVS128, dvs128_record, valid_packet

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Class, start and end of the gestures of a trial.
GESTURES = [(1, 20_000, 100_000), (11, 120_000, 200_000), (3, 200_000, 290_000)]


def random_rows(seed, number=300, duration=300_000, size=(128, 128)):
    """Random events as a list of (t, x, y, p); a third is at multiples of 10 ms, where gestures begin and end."""
    random = np.random.default_rng(seed)
    t = random.integers(0, duration, number)
    t[::3] -= t[::3] % 10_000
    return np.stack([np.sort(t), *(random.integers(0, n, number) for n in (*size, 2))], 1).tolist()


def write_gesture_trial(folder, name, rows, gestures=GESTURES):
    half = len(rows) // 2
    (folder / f"{name}.aedat").write_bytes(CAER + valid_packet(rows[:half]) + valid_packet(rows[half:]))
    lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, gesture)) for gesture in gestures)]
    (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")


def write_dvs_gesture(folder):
    """The folder of DvsGesture.tar.gz, with two trials for training and one for testing."""
    folder.mkdir(parents=True)
    for split, names in (("train", ["user01_led", "user01_natural"]), ("test", ["user24_led"])):
        (folder / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in names))
        for name in names:
            write_gesture_trial(folder, name, random_rows(seed=len(name)))
    return folder


def write_cifar10dvs(folder, number=10):
    """The folder of airplane.zip to truck.zip. Every recording has as many events as its number says, and one more."""
    for name in CIFAR10:
        (folder / name).mkdir(parents=True)
        for k in range(number):
            records = b"".join(dvs128_record(*row) for row in random_rows(seed=k, number=k + 1))
            (folder / name / f"cifar10_{name}_{k}.aedat").write_bytes(DVS128 + records)
    return folder


def write_bin(path, rows):
    """A file of N-MNIST or N-Caltech101: records of x (8 bits), y (8), polarity (1) and time (23)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for t, x, y, p in rows))


def write_nmnist(folder, number=2):
    for split in ("Train", "Test"):
        for digit in range(10):
            for k in range(number):
                path = folder / split / str(digit) / f"{10 * k + digit + 1:05}.bin"
                write_bin(path, random_rows(seed=digit, number=20 + k, size=(34, 34)))
    return folder


def write_ncaltech101(folder, counts):
    """The folder of Caltech101.zip, from names of classes and their numbers of recordings."""
    for name, number in counts.items():
        for k in range(number):
            write_bin(folder / name / f"image_{k + 1:04}.bin", random_rows(seed=k, number=k + 1, size=(233, 173)))
    return folder


def write_spike_trains(path, times, units, labels, speakers=None):
    """A file of SHD or SSC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values, dtype in (("times", times, np.float16), ("units", units, np.uint16)):
            data = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(np.dtype(dtype)))
            for k, one in enumerate(values):
                data[k] = np.array(one, dtype)
        file["labels"] = np.array(labels, np.uint16)
        file["extra/keys"] = np.array([f"digit {k}" for k in range(20)], "S")
        file["extra/speaker"] = np.array([0] * len(labels) if speakers is None else speakers)
    return path


def write_heidelberg(folder, name, splits):
    """The files of SHD or SSC, each with six random recordings."""
    for seed, split in enumerate(splits):
        random = np.random.default_rng(seed)
        times = [np.sort(random.uniform(0, 1, 50)) for _ in range(6)]
        units = [random.integers(0, 700, 50) for _ in range(6)]
        write_spike_trains(folder / f"{name}_{split}.h5", times, units, np.arange(6) + seed, speakers=np.arange(6) // 2)
    return folder
