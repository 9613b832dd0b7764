import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from rgm.data.images import ImageSet
from rgm.sklearn import SpatialRGMClassifier


@pytest.fixture(scope="module")
def rows(digits: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    assert digits.labels is not None
    return digits.images[:600].flatten(1).numpy(), digits.labels[:600].numpy()


@pytest.fixture(scope="module")
def fitted(rows: tuple[np.ndarray, np.ndarray]) -> SpatialRGMClassifier:
    X, y = rows
    return SpatialRGMClassifier(epochs=20.0, random_state=0, device="cpu").fit(
        X[:500], np.array(list("abcdefghij"))[y[:500]]
    )


CHECK = """
import collections, json, warnings
from sklearn.utils.estimator_checks import check_estimator
from rgm.sklearn import SpatialRGMClassifier
warnings.simplefilter("ignore")
estimator = SpatialRGMClassifier(min_steps=4, epochs=0.1, random_state=0, device="cpu")
found = check_estimator(estimator, on_fail=None)
wrong = [f"{check['check_name']}: {check['exception']!r}" for check in found if check["status"] == "failed"]
print(json.dumps({"counts": collections.Counter(check["status"] for check in found), "wrong": wrong}))
"""


@pytest.mark.slow
def test_it_is_an_estimator() -> None:
    """In a process of its own: scikit-learn passes arguments of wrong types, which the tests' type checker refuses."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["wrong"], found["wrong"]
    assert found["counts"]["passed"] > 40


def test_it_learns(fitted: SpatialRGMClassifier, rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    names = np.array(list("abcdefghij"))
    assert list(fitted.classes_) == list("abcdefghij")
    assert fitted.score(X[500:], names[y[500:]]) > 0.8
    probabilities = fitted.predict_proba(X[500:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-9)
    assert (names[probabilities.argmax(axis=1)] == fitted.predict(X[500:])).all()


def test_codes_decode_to_rows(fitted: SpatialRGMClassifier, rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = rows
    codes = fitted.transform(X[500:])
    assert codes.shape == (100, 49)
    assert codes.dtype.kind == "i"
    assert list(fitted.get_feature_names_out()[:2]) == ["spatialrgmclassifier0", "spatialrgmclassifier1"]
    back = fitted.inverse_transform(codes)
    assert back.shape == (100, 784)
    assert 0 <= back.min() <= back.max() <= 255
    error = np.mean((back / 255.0 - X[500:] / 255.0) ** 2)
    assert error < 0.5 * np.var(X[500:] / 255.0)
    with pytest.raises(ValueError, match="49 cells a row, but got 3"):
        fitted.inverse_transform(np.zeros((2, 3), dtype=int))


def test_in_a_pipeline_and_a_grid(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    few = make_pipeline(
        FunctionTransformer(np.sqrt), SpatialRGMClassifier(min_steps=10, epochs=1.0, random_state=0, device="cpu")
    )
    search = GridSearchCV(few, {"spatialrgmclassifier__preset": ["seed", "quick"]}, cv=2).fit(X[:100], y[:100])
    assert search.best_params_["spatialrgmclassifier__preset"] in ("seed", "quick")
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert search.predict(X[:5]).shape == (5,)


def test_errors_of_shapes(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    with pytest.raises(ValueError, match="does not make the 784 features"):
        SpatialRGMClassifier(image_shape=(3, 28, 28)).fit(X, y)
    crossed = np.zeros((40, 30, 30))
    crossed[:, :, 15] = 1
    square = SpatialRGMClassifier(min_steps=2, epochs=0.1, device="cpu", random_state=0)
    square.fit(crossed.reshape(40, 900), y[:40])
    seen = square._images(crossed.reshape(40, 900).astype(np.float32))
    assert seen.shape[1:] == (1, 32, 32)
    assert (seen[0, 0].sum(dim=0) > 0).sum() == 1  # a line stays a line
    assert square.inverse_transform(square.transform(crossed.reshape(40, 900))).shape == (40, 900)
    odd = SpatialRGMClassifier(min_steps=2, epochs=0.1, device="cpu", random_state=0).fit(X[:40, :750], y[:40])
    assert odd.image_shape_ == (1, 28, 28)
    assert odd.inverse_transform(odd.transform(X[:2, :750])).shape == (2, 750)
