"""Films in every format that is read, and one clear line for every bad one."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from rgm.data.animations import gif
from rgm.data.films import FilmSet, load_films, read_films, read_mask
from rgm.data.frames import films_of
from rgm.data.made_films import bouncing_balls, lorenz_ball, moving_digits
from rgm.data.sound import BANDS, RATE, read_sound, to_sound
from rgm.errors import RGMError


@pytest.fixture
def film() -> torch.Tensor:
    return bouncing_balls(12, ((1, 2),), height=10, width=8, radius=1.5)


def animated(film: torch.Tensor, kind: str) -> bytes:
    pictures = [Image.fromarray(frame.numpy()) for frame in film]
    content = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(content, format=kind, save_all=True, append_images=pictures[1:], **options)
    return content.getvalue()


@pytest.mark.parametrize("name", ["film.npz", "film.npy", "film.gif", "film.png", "film.webp", "folder"])
def test_every_format_gives_the_same_film(name: str, film: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / name
    match path.suffix:
        case ".npz":
            np.savez(path, frames=film.numpy())
        case ".npy":
            np.save(path, film.numpy())
        case "":
            path.mkdir()
            for number, frame in enumerate(film):
                Image.fromarray(frame.numpy()).save(path / f"frame {number}.png")
        case suffix:
            path.write_bytes(animated(film, {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}[suffix]))
    assert torch.equal(read_films(path)[0], film[None])
    found = load_films(str(path), "test")
    assert torch.equal(found.frames, film[None])
    assert not found.held_out
    assert found.image == (1, 10, 8)


def test_our_own_gif_is_read_back(film: torch.Tensor, tmp_path: Path) -> None:
    still = torch.cat([film, film[-1:].expand(3, -1, -1), film[:2]])  # equal frames in a row are one in the file
    path = tmp_path / "film.gif"
    for frames in (film, still, film[:1].expand(5, -1, -1)):
        path.write_bytes(gif(frames, enlarge=4))
        with Image.open(path) as picture:
            assert picture.size == (32, 40)
        assert torch.equal(read_films(path)[0][0], frames)


def test_a_gif_of_another_size_than_its_comment_says_is_read_as_it_is(film: torch.Tensor, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(gif(film, enlarge=4))) as picture:
        comment = picture.info["comment"]
    pictures = [Image.fromarray(frame.numpy()) for frame in film]
    pictures[0].save(tmp_path / "film.gif", save_all=True, append_images=pictures[1:], comment=comment)
    assert torch.equal(read_films(tmp_path / "film.gif")[0][0], film)


def test_films_are_divided_and_splits_of_a_folder_are_its_own(tmp_path: Path) -> None:
    films = np.random.default_rng(0).integers(0, 255, size=(10, 3, 4, 5), dtype=np.uint8)
    np.savez(tmp_path / "ten.npz", frames=films)
    parts = [load_films(str(tmp_path / "ten.npz"), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [7, 1, 2]
    together = np.concatenate([part.frames.numpy() for part in parts])
    assert sorted(map(bytes, together)) == sorted(map(bytes, films))
    own = tmp_path / "own"
    own.mkdir()
    np.savez(own / "train.npz", frames=films[:4])
    np.savez(own / "test.npz", frames=films[4:])
    assert len(load_films(str(own), "test")) == 6
    assert len(load_films(str(own), "validation")) == 4


def test_made_films_are_seeded_and_of_their_size() -> None:
    for name, shape in (("balls", (1, 1024, 24, 24)), ("lorenz", (1, 1024, 24, 24))):
        first, second = load_films(name), load_films(name, "test")
        assert isinstance(first, FilmSet)
        assert first.frames.shape == shape
        assert first.sha256 == second.sha256
    film = bouncing_balls(64, ((2, 3), (5, 1)))
    assert set(film.unique().tolist()) == {0, 255}
    assert torch.equal(lorenz_ball(20), lorenz_ball(40)[:20])


def test_digits_move_by_whole_pixels_and_stay_inside() -> None:
    small = torch.ones(5, 1, 3, 3)
    films = moving_digits(small, np.random.default_rng(0), frames=30, canvas=9)
    assert films.shape == (5, 30, 9, 9)
    assert (films > 0).sum(dim=(2, 3)).eq(9).all()


@pytest.mark.mnist
def test_digits_are_of_their_split() -> None:
    train, again, test = (load_films("moving-mnist", split) for split in ("train", "train", "test"))
    assert train.frames.shape == (300, 20, 24, 24)
    assert train.sha256 == again.sha256 != test.sha256
    assert train.held_out


def test_a_sound_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * (500 + 500 * time) * time)
    stereo = np.stack([tone, tone], axis=1)
    wavfile.write(tmp_path / "tone.wav", 2 * RATE, (np.repeat(stereo, 2, axis=0) * 20000).astype(np.int16))
    frames, rate = read_sound(tmp_path / "tone.wav")
    assert rate == RATE
    assert frames.shape[2:] == (BANDS, 1)
    assert "2 channels" in caplog.text
    assert "resampled from 16,000" in caplog.text
    (tmp_path / "back.wav").write_bytes(to_sound(frames[0].float() / 255))
    back, _ = read_sound(tmp_path / "back.wav")
    loudest = [one[0, :, :, 0].int().argmax(dim=1)[:50] for one in (frames, back)]
    assert (loudest[0] - loudest[1]).abs().float().mean() < 1


@pytest.mark.parametrize("name", ["val", "Valid.npz", "dev.npy"])
def test_validation_films_by_any_of_their_names(film: torch.Tensor, tmp_path: Path, name: str) -> None:
    frames = film.numpy()
    np.savez(tmp_path / "Train.npz", frames=frames)
    with pytest.raises(RGMError, match=r"holds films to train, Train\.npz, but none to test"):
        load_films(str(tmp_path))
    np.savez(tmp_path / "test.npz", frames=frames[:4])
    assert not load_films(str(tmp_path), "validation").held_out
    if name == "val":
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.fromarray(frames[number]).save(tmp_path / name / f"{number}.png")
    else:
        with (tmp_path / name).open("wb") as stream:
            np.save(stream, frames[:5]) if name.endswith("npy") else np.savez(stream, frames=frames[:5])
    found = load_films(str(tmp_path), "validation")
    assert (found.held_out, found.frames.shape[1]) == (True, 5)
    np.savez(tmp_path / "validation.npz", frames=frames)
    with pytest.raises(RGMError, match="are both the validation split"):
        load_films(str(tmp_path))


def wav(rate: int) -> bytes:
    content = io.BytesIO()
    wavfile.write(content, rate, np.arange(1000, dtype=np.int16))
    return content.getvalue()


def claiming(*shape: int) -> bytes:
    """An .npy file of a few bytes whose header claims so many."""
    content = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)  # type: ignore[no-untyped-call]
    return content.getvalue() + b"x" * 10


def test_a_sound_with_chunks_of_other_kinds_is_read(tmp_path: Path) -> None:
    content = wav(8000) + b"junkX\0\0\0" + b"x" * 88
    (tmp_path / "a.wav").write_bytes(content)
    assert read_sound(tmp_path / "a.wav")[0].shape[2] == 128


def test_what_is_left_out_of_a_folder_of_pictures_is_said(
    film: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, frame in enumerate(film):
        Image.fromarray(frame.numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert len(read_films(tmp_path)[0][0]) == len(film)
    assert "1 .txt file, 1 folder, 1 special file" in caplog.text
    for name in ("pipe.png", "pipe.gif", "pipe.wav"):
        if not (tmp_path / name).exists():
            os.mkfifo(tmp_path / name)
        with pytest.raises(RGMError, match="no file at"):
            read_films(tmp_path / name)


def truncated(film: torch.Tensor, kind: str) -> bytes:
    return animated(film, kind)[:-40]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.gif", lambda film: truncated(film, "GIF"), "cut short"),
        ("cut.png", lambda film: truncated(film, "PNG"), "cut short"),
        ("cut.webp", lambda film: truncated(film, "WEBP"), "cut short"),
        ("one.gif", lambda film: animated(film[:1], "GIF"), "one frame alone"),
        ("none.gif", lambda _: b"GIF89a nothing;", "damaged or no picture"),
        ("none.npz", lambda _: b"PK nothing", "not a whole .npz"),
        ("none.wav", lambda _: b"RIFF nothing", "not a whole WAV"),
        ("cut.wav", lambda _: wav(8000)[:-100], "not a whole WAV file: Reached EOF prematurely"),
        ("fast.wav", lambda _: wav(2**31 - 1), "claims 2,147,483,647 samples a second: 1,000 to 1,000,000 are read"),
        ("slow.wav", lambda _: wav(1), "claims 1 samples a second"),
        ("huge.npy", lambda _: claiming(10**6, 10**3, 10**3), "claims 1000000 × 1000 × 1000 values, more than it"),
        ("other.npy", lambda _: b"PK nothing", "is not an .npy file: write it with np.save"),
        ("other.npz", lambda _: claiming(2, 2), "is a single array, not an .npz file"),
        ("film.txt", lambda _: b"text", "is no film"),
    ],
)
def test_damaged_files_are_told_in_a_line(
    name: str, content: object, message: str, film: torch.Tensor, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content(film))  # type: ignore[operator]
    with pytest.raises(RGMError, match=message) as told:
        read_films(tmp_path / name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 4, 4), dtype=np.uint8), "at least 2 frames"),
        (np.zeros((0, 4, 4), dtype=np.uint8), "must have the shape"),
        (np.zeros((4, 4), dtype=np.uint8), "must have the shape"),
        (np.zeros((2, 3, 4, 4, 4), dtype=np.uint8), "must have the shape"),
        (np.zeros((3, 4, 4), dtype=np.int64), "must be uint8"),
        (np.zeros((5, 9, 8, 4), dtype=np.uint8), "seem to have four channels"),
        (np.zeros((2, 5, 9, 8, 4), dtype=np.uint8), "must have the shape"),
        (np.full((3, 4, 4), 2.0), "must lie in"),
        ("a film", "tensor or an array"),
    ],
)
def test_arrays_that_are_no_films_are_told(frames: object, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        films_of(frames)


def test_pictures_of_several_sizes_and_silence_are_told(tmp_path: Path) -> None:
    for number, side in enumerate((8, 9)):
        Image.new("L", (side, 8)).save(tmp_path / f"{number}.png")
    with pytest.raises(RGMError, match="of a film have one size"):
        read_films(tmp_path)
    wavfile.write(tmp_path / "silent.wav", RATE, np.zeros(RATE, dtype=np.int16))
    with pytest.raises(RGMError, match="silent"):
        read_films(tmp_path / "silent.wav")
    wavfile.write(tmp_path / "nan.wav", RATE, np.full(RATE, np.nan, dtype=np.float32))
    with pytest.raises(RGMError, match="holds samples that are no numbers"):
        read_sound(tmp_path / "nan.wav")
    wavfile.write(tmp_path / "short.wav", RATE, np.ones(100, dtype=np.int16))
    with pytest.raises(RGMError, match="two frames"):
        read_films(tmp_path / "short.wav")


def test_masks_and_unknown_names_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "mask.npz", mask=np.eye(3, dtype=np.uint8))
    assert read_mask(tmp_path / "mask.npz").dtype == torch.bool
    np.savez(tmp_path / "nan.npz", mask=np.full((2, 3, 3), np.nan))
    with pytest.raises(RGMError, match="holds values that are no numbers"):
        read_mask(tmp_path / "nan.npz")
    np.savez(tmp_path / "words.npz", mask=np.array(["a"]))
    with pytest.raises(RGMError, match="must be a tensor or an array of numbers, but are <U1"):
        read_mask(tmp_path / "words.npz")
    np.savez(tmp_path / "other.npz", visible=np.eye(3))
    with pytest.raises(RGMError, match="no array `mask`, only visible"):
        read_mask(tmp_path / "other.npz")
    with pytest.raises(RGMError, match="did you mean 'moving-mnist'"):
        load_films("moving-mnst")
    with pytest.raises(RGMError, match="frames are 1 × 9 × 9"):
        load_films("balls", image=(1, 9, 9))
