"""Videos in every container that is read, and one clear line for every bad one."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rgm.data import animations
from rgm.data.films import load_films, read_films
from rgm.data.made_films import bouncing_balls
from rgm.data.video import VIDEOS
from rgm.errors import RGMError

av = pytest.importorskip("av", reason="the extra video")
SIDE = 32


@pytest.fixture(scope="module")
def film() -> torch.Tensor:
    return bouncing_balls(40, ((1, 2),), height=SIDE, width=48, radius=5.0)


def write(path: Path, film: torch.Tensor, *, codec: str = "ffv1", colour: tuple[int, ...] = (255, 255, 255)) -> Path:
    """A video, without loss where the codec is."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = film.shape[1:]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for lit in film.numpy() > 0:
            pixels = (lit[:, :, None] * np.array(colour)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_video_without_loss_gives_the_same_film(suffix: str, film: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / f"film{suffix}", film)
    assert torch.equal(read_films(path)[0], film[None])
    found = load_films(str(path), "test")
    assert not found.held_out
    assert found.image == (1, SIDE, 48)
    red = read_films(write(tmp_path / f"red{suffix}", film, colour=(255, 0, 0)))[0]
    assert torch.equal(red[..., 0], film[None])
    assert not red[..., 1:].any()


CODECS = {".mp4": "mpeg4", ".mov": "mpeg4", ".mkv": "mpeg4", ".webm": "libvpx", ".avi": "mpeg4"}


@pytest.mark.parametrize("suffix", VIDEOS)
def test_every_container_is_read_and_a_cut_one_is_told(suffix: str, film: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / f"film{suffix}", film, codec=CODECS[suffix])
    frames, rate = read_films(path)
    assert frames.shape[:4] == (1, *film.shape)
    assert rate is None
    brightness = frames.float().flatten(4).mean(dim=4) if frames.ndim == 5 else frames.float()
    assert (brightness - film).abs().mean() < 12
    whole = path.read_bytes()
    for kept in (0, 7, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:kept])
        with pytest.raises(RGMError, match=r"cut short|damaged or no video") as told:
            read_films(path)
        assert "\n" not in str(told.value)
    assert "cut short" in str(told.value)


def test_a_video_with_its_index_first_is_told_where_it_is_cut_short(film: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with (
        av.open(str(write(tmp_path / "last.mp4", film, codec="mpeg4"))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    assert read_films(path)[0].shape[1] == len(film)
    path.write_bytes(whole[:-300])
    with pytest.raises(RGMError, match="cut short"):
        read_films(path)


def test_a_video_is_shown_upright(film: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", film, codec="mpeg4")
    plain = read_films(path)[0]
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(
        ">9i", 0, one, 0, -one, 0, 0, SIDE * one, 0, 1 << 30
    )  # a clockwise turn
    path.write_bytes(content)
    assert torch.equal(read_films(path)[0], plain.rot90(-1, (2, 3)))


def test_damage_that_the_decoder_passes_over_is_told(
    film: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "film.webm", film, codec="libvpx")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = np.random.default_rng(0).bytes(200)
    path.write_bytes(content)
    assert read_films(path)[0].shape[1] < len(film)
    assert f"{path} is damaged: " in caplog.text
    content = bytearray(write(tmp_path / "film.mp4", film, codec="mpeg4").read_bytes())
    middle = content.index(b"mdat") + 200
    content[middle : middle + 200] = bytes(200)
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(RGMError, match=r"damaged or no video: frame \d+ is not whole"):
        read_films(tmp_path / "film.mp4")


def test_what_is_no_film_is_told(film: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video at all, but text")
    with pytest.raises(RGMError, match="is damaged or no video"):
        read_films(tmp_path / "text.mp4")
    with pytest.raises(RGMError, match="has 1 frame alone"):
        read_films(write(tmp_path / "one.mp4", film[:1], codec="mpeg4"))
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(RGMError, match="holds no video"):
        read_films(tmp_path / "sound.mkv")
    monkeypatch.setattr(animations, "MOST_BYTES", 3 * SIDE * 48 * 30)
    for name, codec in (("known.mp4", "mpeg4"), ("unknown.mkv", "ffv1")):
        with pytest.raises(RGMError, match="too many to hold in memory, where 30 would fit"):
            read_films(write(tmp_path / name, film, codec=codec))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RGMError, match=r"pip install 'rgm\[video\]'"):
        read_films(tmp_path / "known.mp4")
