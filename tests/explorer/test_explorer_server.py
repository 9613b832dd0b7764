"""Requests as the page makes them, and invalid ones."""

import base64
import json
import socket
from dataclasses import replace
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.explorer.server import HOST, application, as_origin, free_port
from rgm.explorer.service import Explorer
from rgm.model.spatial import SpatialRGM


@pytest.fixture(scope="module", params=["pretrained", "three-level"])
def explorer(request: pytest.FixtureRequest, digits: ImageSet) -> Explorer:
    if request.param == "pretrained":
        model = SpatialRGM.from_pretrained("mnist")
    else:
        torch.manual_seed(0)
        model = SpatialRGM.from_preset("three-level").eval()
    return Explorer(model, tuple("0123456789"), "a model", replace(digits, images=digits.images[:20], labels=None))


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    return TestClient(application(explorer), base_url=f"http://{HOST}:8765", raise_server_exceptions=False)


def post(client: TestClient, name: str, **body: Any) -> Any:
    response = client.post(f"/api/{name}", content=json.dumps(body))
    assert response.status_code == 200, response.text
    return response.json()


def image(text: str, shape: tuple[int, ...]) -> torch.Tensor:
    raw = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
    channels, rows, columns = shape
    return raw.reshape(rows, columns, channels).permute(2, 0, 1).float() / 255


def test_images_on_an_empty_ground_are_taken_for_drawings(digits: ImageSet) -> None:
    """So that an upload is cropped and centred as a digit is, but a picture is not."""
    model = SpatialRGM.from_pretrained("mnist")
    bright = torch.full((4, 1, 28, 28), 200, dtype=torch.uint8)
    empty = bright.clone()
    empty[..., [0, -1], :], empty[..., [0, -1]] = 0, 0
    found = [
        Explorer(model, digits.classes, "a model", replace(digits, images=images, labels=None))
        for images in (bright, empty)
    ]
    assert [explorer.about()["drawings"] for explorer in (*found, Explorer(model, digits.classes, "no data"))] == [
        False,
        True,
        True,
    ]


def test_the_page_needs_no_other_server(client: TestClient) -> None:
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
    for path in Explorer.files:
        response, kind = client.get(f"/{path}"), kinds[path.rpartition(".")[2] or "html"]
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "http://" not in response.text.replace("http://www.w3.org", "")
        assert "https://" not in response.text
    assert client.get("/../cli.py").status_code == 404


def test_the_description_of_the_model(client: TestClient, explorer: Explorer) -> None:
    about = client.get("/api/about").json()
    height, width = about["grid"]
    assert about["image"] == [1, 28, 28]
    assert len(about["fields"]) == height * width
    assert len(about["codes"]) == about["states"] == explorer.model.latent_dim
    assert len(base64.b64decode(about["codes"][0])) == about["patch"][0] * about["patch"][1]
    assert about["test_images"] == 20


def test_an_image_is_encoded_as_by_the_model(client: TestClient, explorer: Explorer) -> None:
    assert explorer.test is not None
    found = post(client, "test-image", index=23)
    expected = explorer.model.infer(to_unit(explorer.test.images[3:4]))
    assert found["z1"] == expected.z1[0].tolist()
    assert found["concept"] == pytest.approx(expected.concept[0].tolist(), abs=1e-5)
    decoded = image(found["reconstruction"], (1, 28, 28))
    torch.testing.assert_close(decoded, expected.reconstruction[0], atol=0.003, rtol=0)
    assert found["above"] == [grid[0].tolist() for grid in expected.codes[1:]]


def test_decoding_the_codes_of_an_image_gives_its_encoding(client: TestClient) -> None:
    grey = torch.zeros(28, 28, dtype=torch.uint8)
    grey[4:24, 13:16] = 255
    found = post(client, "encode", pixels=base64.b64encode(grey.numpy().tobytes()).decode())
    assert post(client, "decode", z1=found["z1"]) == found


def test_a_morph_begins_and_ends_with_samples_of_the_two_concepts(client: TestClient) -> None:
    frames = post(client, "morph", start=3, end=8, count=5, seed=4)
    assert len(frames["z1"]) == len(frames["images"]) == 5
    assert frames["z1"][0] == post(client, "sample", concept=3, seed=4)["z1"][0]
    assert frames["z1"][-1] == post(client, "sample", concept=8, seed=4)["z1"][0]


def test_a_changed_cell_changes_nothing_outside_its_field(client: TestClient) -> None:
    about = client.get("/api/about").json()
    found = post(client, "test-image", index=0)
    height, width = about["grid"]
    row, column = height // 2, width // 2
    offered = post(client, "palette", z1=found["z1"], concept=3, cell=[row, column])
    assert sorted(offered["codes"]) == list(range(about["states"]))
    assert sum(offered["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert offered["probabilities"] == sorted(offered["probabilities"], reverse=True)
    other = next(code for code in offered["codes"] if code != found["z1"][row][column])
    found["z1"][row][column] = other
    changed = post(client, "decode", z1=found["z1"])
    difference = (image(changed["reconstruction"], (1, 28, 28)) - image(found["reconstruction"], (1, 28, 28))).abs()[0]
    top, left, bottom, right = about["fields"][row * width + column]
    difference[top:bottom, left:right] = 0
    assert float(difference.max()) == 0


def test_samples_and_completions_are_seeded_and_kept_cells_stay(client: TestClient) -> None:
    one, two = (post(client, "sample", concept=4, count=3, seed=9) for _ in range(2))
    assert one == two
    assert len(one["z1"]) == len(one["images"]) == 3
    z1 = one["z1"][0]
    done = post(client, "complete", z1=z1, concept=4, resampled=[[0, 0], [1, 2]], seed=1)
    differing = {(r, c) for r, row in enumerate(z1) for c, code in enumerate(row) if done["z1"][r][c] != code}
    assert differing <= {(0, 0), (1, 2)}


def test_invalid_requests_are_refused_with_a_reason(client: TestClient) -> None:
    z1 = post(client, "test-image", index=0)["z1"]
    far = [[10**6] * len(z1[0])] * len(z1)
    wrong: list[tuple[str, bytes]] = [
        ("decode", b"not json"),
        ("decode", b"[]"),
        ("decode", json.dumps({"z1": far}).encode()),
        ("decode", json.dumps({"z1": [[-1] * len(z1[0])] * len(z1)}).encode()),
        ("decode", json.dumps({"z1": [[1, 2], [3]]}).encode()),
        ("decode", json.dumps({"z1": z1, "more": 1}).encode()),
        ("decode", json.dumps({"z1": [["a"] * len(z1[0])] * len(z1)}).encode()),
        ("decode", json.dumps({"z1": [[10**30] * len(z1[0])] * len(z1)}).encode()),
        ("decode", b'{"z1": []}'),
        ("decode", b'{"z1": [[]]}'),
        ("palette", json.dumps({"z1": z1, "concept": 3, "cell": [99, 0]}).encode()),
        ("palette", json.dumps({"z1": z1, "concept": 99, "cell": [0, 0]}).encode()),
        ("palette", json.dumps({"z1": [[1]], "concept": 3, "cell": [1, 1]}).encode()),
        ("complete", json.dumps({"z1": [[1]], "concept": 3, "resampled": [[1, 1]]}).encode()),
        ("sample", json.dumps({"concept": 99}).encode()),
        ("sample", json.dumps({"concept": 1, "count": 10**6}).encode()),
        ("sample", json.dumps({"concept": 1, "temperature": 0}).encode()),
        ("complete", json.dumps({"z1": z1, "concept": 1, "resampled": []}).encode()),
        ("complete", json.dumps({"z1": z1, "concept": 1, "resampled": [[0, 99]]}).encode()),
        ("encode", json.dumps({"pixels": "AAAA"}).encode()),
        ("encode", json.dumps({"pixels": "?"}).encode()),
        ("encode", json.dumps({"pixels": "A" * 500_000}).encode()),
        ("morph", json.dumps({"start": 1, "end": 99}).encode()),
        ("morph", json.dumps({"start": 1, "end": 2, "count": 1}).encode()),
        ("decode", b" " * 700_000),
    ]
    for name, body in wrong:
        response = client.post(f"/api/{name}", content=body)
        assert response.status_code == 422, (name, body[:60], response.text)
        reason = response.json()["error"]
        assert reason
        assert "\n" not in reason
        assert "Traceback" not in reason
    assert client.get("/api/decode").status_code == 405
    assert client.post("/api/nothing").status_code == 404


def test_another_host_or_origin_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example:8765"}).status_code == 421
    assert client.post("/api/sample", content="{}", headers={"origin": "http://evil.example"}).status_code == 403
    own = client.post("/api/sample", content='{"concept": 1}', headers={"origin": f"http://{HOST}:8765"})
    assert own.status_code == 200
    page = client.get("/", headers={"origin": "http://evil.example"})  # the page itself holds nothing, and says why
    assert page.status_code == 200
    refused = client.post("/api/sample", content="{}", headers={"origin": "http://proxy.example"})
    assert "--allow-origin http://proxy.example" in refused.json()["error"]


def test_a_port_in_use_is_reported_with_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RGMError, match=rf"port {port} is in use .*--port \d+"):
            free_port(port)
    assert free_port(0) > 0
    with pytest.raises(RGMError, match="port 70000"):
        free_port(70_000)


def test_without_test_images_a_request_for_one_is_refused(explorer: Explorer) -> None:
    without = TestClient(application(replace(explorer, test=None)), base_url=f"http://{HOST}:8765")
    response = without.post("/api/test-image", content='{"index": 0}')
    assert response.status_code == 422
    assert "start from a sample" in response.json()["error"]


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://Example.org", "https://example.org"),
        ("https://example.org/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:8080", "http://example.org:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        *(
            (wrong, None)
            for wrong in ("", "*", "example.org", "ftp://a", "http://a:99999", "http://a/page", "http://", "http://u@a")
        ),
    ],
)
def test_origins_of_other_pages(address: str, origin: str | None) -> None:
    if origin is not None:
        assert as_origin(address) == origin
        return
    with pytest.raises(RGMError, match="an origin is a scheme, a host and perhaps a port"):
        as_origin(address)
