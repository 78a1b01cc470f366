"""Which digit does a voice say? Waveforms of the Free Spoken Digit Dataset."""

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import data_folder
from objectives.tasks.metrics import ACCURACY
from objectives.tasks.task import Metric, Splits, TaskError, cross_entropy, mean_std, take

RATE_HZ = 8000
TEST_TAKES, VALIDATION_TAKES = range(5), range(5, 10)
"""Official test takes; the next five validate. Each of 6 voices says each digit 50 times."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SpokenDigits:
    """Ten digits said by 6 voices: 3,000 waveforms, 8 kHz, int16; takes 0 to 4 are the test.

    Inputs are (N, samples) from the start of each recording, cut or padded with silence.
    Source: Jackson et al., Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401.
    """

    root: str | None = None
    """Folder of `fsdd/`: `recordings/*.wav` or one `.npz`; default `$PARETUNE_DATA/data`, `data`.
    """
    seconds: float = Field(default=1.0, ge=0.01, le=10)
    """Length of an input; recordings last 0.14 to 2.3 s, 0.44 s in the mean."""
    leave_out: str | None = None
    """A speaker, such as `theo`: all of this voice is the test, and none of it trains."""

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read every recording once."""
        recordings = _read(data_folder(self.root) / "fsdd")
        waves = _fitted(recordings, round(self.seconds * RATE_HZ))
        targets = np.array([each.digit for each in recordings], dtype=np.int64)
        rows = _parts(recordings, self.leave_out)
        train, validation, test = (take(waves, targets, part) for part in rows)
        mean, std = mean_std(train.inputs)
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=10,
            classes=tuple("0123456789"),
            mean=mean,
            std=std,
        )


class Recording(NamedTuple):
    """One spoken digit; its file is named DIGIT_SPEAKER_TAKE.wav."""

    digit: int
    speaker: str
    take: int
    samples: NDArray[np.int16]


def _read(folder: Path) -> list[Recording]:
    """All recordings, in the order of their file names."""
    packed, files = folder / "fsdd_8khz_int16.npz", folder / "recordings"
    if packed.is_file():
        with np.load(packed) as arrays:
            samples = np.split(arrays["waveforms"], arrays["offsets"][1:-1])
            names = [str(name) for name in arrays["files"]]
        found = dict(zip(names, samples, strict=True))
    elif files.is_dir():
        found = {path.name: _samples(path) for path in files.glob("*.wav")}
    else:
        raise TaskError(
            f"spoken_digits: {files} does not exist; put the recordings of the Free Spoken Digit "
            "Dataset there, give another `root`, or set PARETUNE_DATA"
        )
    if not found:
        raise TaskError(f"spoken_digits: {files} holds no .wav file; put the recordings there")
    return [_recording(folder, name, found[name]) for name in sorted(found)]


def _recording(folder: Path, name: str, samples: NDArray[np.int16]) -> Recording:
    digit, _, rest = name.removesuffix(".wav").partition("_")
    speaker, _, number = rest.rpartition("_")
    if not (len(digit) == 1 and digit.isdecimal() and number.isdecimal() and speaker):
        raise TaskError(f"{folder}: {name} is not named DIGIT_SPEAKER_TAKE.wav; rename or remove")
    if not len(samples):
        raise TaskError(f"{folder}: {name} holds no sound (length 0); record or remove it")
    return Recording(int(digit), speaker, int(number), samples)


def _samples(path: Path) -> NDArray[np.int16]:
    try:
        with wave.open(str(path)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, RATE_HZ):
                raise TaskError(f"{path} is not mono, 16 bit, 8 kHz (but {form}); convert it")
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    except (wave.Error, EOFError) as error:
        raise TaskError(f"{path} cannot be read ({error}); repair or remove it") from error


def _fitted(recordings: list[Recording], length: int) -> NDArray[np.int16]:
    """(N, length) waveforms, cut at the end or padded with silence."""
    fitted = np.zeros((len(recordings), length), dtype=np.int16)
    for row, recording in enumerate(recordings):
        kept = recording.samples[:length]
        fitted[row, : len(kept)] = kept
    return fitted


def _parts(recordings: list[Recording], leave_out: str | None) -> list[NDArray[np.int64]]:
    """Positions of train, validation and test."""
    speakers = sorted({each.speaker for each in recordings})
    if leave_out is not None and leave_out not in speakers:
        raise TaskError(
            f"spoken_digits: nobody is called {leave_out!r}; leave_out is one of "
            f"{', '.join(speakers)}"
        )
    parts: list[list[int]] = [[], [], []]
    for row, each in enumerate(recordings):
        is_test = each.take in TEST_TAKES if leave_out is None else each.speaker == leave_out
        parts[2 if is_test else 1 if each.take in VALIDATION_TAKES else 0].append(row)
    return [np.array(part, dtype=np.int64) for part in parts]
