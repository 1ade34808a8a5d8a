"""Columns: the tensors of an inference request in the Open Inference Protocol (V2), JSON or binary, and its answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import from_json

from scratchcard.frontends.service.problems import Problem
from scratchcard.meta.predictor import ROWS, Predictor
from scratchcard.score_tables.schema import FeatureBlock
from scratchcard.words import quoted

INPUT, OUTPUT = "FP32", "FP64"
SCORES = "scores"
JSON_LIMIT = 16 << 20
"""Bytes of JSON: Python's numbers take ten times as much."""
HEADER = "Inference-Header-Content-Length"
EXPECTED = "expected FP32 of shape [n] or [n, 1]"


@dataclass(frozen=True)
class Asked:
    """An inference request that was read.

    Attributes:
        columns: the feature columns in the predictor's order, float32 `(n,)` or JSON's numbers as float64.
        rows: n.
        name: the request's id, which the answer repeats.
        binary: whether the scores are wanted as binary data.

    Examples:
        >>> Asked([np.ones(2)], 2, None, False).rows
        2
    """

    columns: Sequence[np.ndarray]
    rows: int
    name: str | None
    binary: bool


def read_request(body: bytes | memoryview, header: str | None, features: Sequence[str]) -> Asked:
    """The columns of a request, each checked against what the predictor takes.

    Args:
        body: JSON; with a header length, JSON and the binary data behind it.
        header: the length of the JSON as the HTTP header says it, or None.
        features: the names of the inputs.

    Raises:
        Problem: 400 or 413; names the input, what was expected and what came.

    Examples:
        >>> body = b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2.5]}]}'
        >>> read_request(body, None, ["a"]).columns
        [array([1. , 2.5])]
    """
    size = _header_length(header, len(body))
    if size > JSON_LIMIT:
        raise Problem(413, f"the JSON has more than {JSON_LIMIT:,} bytes: send such batches as binary tensors")
    try:
        told = from_json(bytes(body[:size]), allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the request is no JSON ({str(error)[:120]})") from error
    if not isinstance(told, dict):
        raise Problem(400, f"the request is {_kind(told)}, expected a JSON object with the member inputs")
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        came = "missing" if inputs is None else f"{_kind(inputs)}"
        raise Problem(400, f"the member inputs is {came}, expected a list of objects, one for each feature")
    name = told.get("id")
    if name is not None and not isinstance(name, str):
        raise Problem(400, f"the request's id is {_kind(name)}, expected a text")
    names = [each.get("name") for each in inputs]
    _check_names(names, features)
    rest, columns = body[size:], {}
    for each in inputs:
        column, taken = _column(each, rest)
        columns[each["name"]], rest = column, rest[taken:]
    if len(rest):
        raise Problem(400, f"{len(rest):,} bytes of binary data belong to no input; binary_data_size says their number")
    sizes = {name: len(column) for name, column in columns.items()}
    rows = sizes[features[0]]
    other = next((name for name, n in sizes.items() if n != rows), None)
    if other is not None:
        raise Problem(
            400, f"input {other!r} has {sizes[other]:,} rows and {features[0]!r} has {rows:,}; all need as many"
        )
    return Asked([columns[name] for name in features], rows, name, _wants_binary(told))


def predicted(predictor: Predictor, columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """The scores of so many rows, float64 `(n,)`, block by block.

    Raises:
        Problem: 400; a number that is not finite in float32, with its input.

    Examples:
        >>> from scratchcard.score_tables.schema import Column
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([1.0])}
        >>> linear = Predictor("linear", "regression", "score", (Column("a", "feature", "raw", ""),), arrays)
        >>> predicted(linear, [np.array([1.0, 2.0])], 2)
        array([3., 5.])
    """
    scores = np.empty(rows, dtype=np.float64)
    block = np.empty((min(rows, ROWS), len(columns)), dtype=np.float32)
    for start in range(0, rows, ROWS):
        part = block[: min(ROWS, rows - start)]
        with np.errstate(over="ignore"):
            for place, column in enumerate(columns):
                part[:, place] = column[start : start + ROWS]
        if not np.isfinite(part).all():
            place = int(np.flatnonzero(~np.isfinite(part).all(axis=0))[0])
            raise Problem(400, f"input {predictor.features[place]!r} holds NaN or infinity, expected finite FP32")
        scores[start : start + ROWS] = predictor.predict(
            FeatureBlock("rows", np.arange(len(part)), predictor.features, part)
        )
    return scores


def answer(asked: Asked, scores: np.ndarray, model: str, version: str) -> tuple[Iterator[bytes], dict[str, str]]:
    """The answer's bytes piece by piece, and its headers.

    Examples:
        >>> pieces, headers = answer(Asked([], 2, "7", False), np.array([1.0, 2.0]), "policy", "1")
        >>> json.loads(b"".join(pieces))["outputs"][0]["data"]
        [1.0, 2.0]
    """
    output: dict[str, Any] = {"name": SCORES, "datatype": OUTPUT, "shape": [len(scores)]}
    told: dict[str, Any] = {"model_name": model, "model_version": version}
    told |= {} if asked.name is None else {"id": asked.name}
    if asked.binary:
        output["parameters"] = {"binary_data_size": scores.nbytes}
        head = json.dumps(told | {"outputs": [output]}).encode()
        headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head))}
        headers["Content-Length"] = str(len(head) + scores.nbytes)
        view = memoryview(scores.astype("<f8", copy=False)).cast("B")  # type: ignore[arg-type]
        return itertools.chain([head], _pieces(view)), headers
    before, after = json.dumps(told | {"outputs": [output | {"data": []}]}).rsplit("[]", 1)
    return itertools.chain([f"{before}[".encode()], _numbers(scores), [f"]{after}".encode()]), {
        "Content-Type": "application/json"
    }


def _pieces(view: memoryview, size: int = 1 << 20) -> Iterator[bytes]:
    return (bytes(view[start : start + size]) for start in range(0, len(view), size))


def _numbers(scores: np.ndarray) -> Iterator[bytes]:
    for start in range(0, len(scores), ROWS):
        text = json.dumps(scores[start : start + ROWS].tolist())[1:-1]
        yield (f", {text}" if start else text).encode()


def _header_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= size):
        raise Problem(
            400,
            f"{HEADER} is {quoted(header, 40)}, expected the number of bytes of the JSON, up to the body's {size:,}",
        )
    return int(header)


def _check_names(names: Sequence[Any], features: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise Problem(400, f"input number {place + 1} has no name: expected one of {', '.join(features)}")
        if name not in features:
            raise Problem(
                400, f"there is no input {quoted(name, 80)}: expected {', '.join(features)}, each {EXPECTED[9:]}"
            )
        if name in names[:place]:
            raise Problem(400, f"input {name!r} is given twice")
    missing = [name for name in features if name not in names]
    if missing:
        raise Problem(400, f"input {missing[0]!r} is missing: {EXPECTED}; it is one of {', '.join(features)}")


def _column(given: Mapping[str, Any], rest: bytes | memoryview) -> tuple[np.ndarray, int]:
    """One input's numbers, and how many bytes of the binary data they were."""
    name, shape, datatype = given["name"], given.get("shape"), given.get("datatype")
    if shape is None:
        raise Problem(400, f"input {name!r} has no shape: {EXPECTED}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
        raise Problem(400, f"the shape of input {name!r} is {quoted(shape, 60)}: {EXPECTED}")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise Problem(400, f"input {name!r} has the shape {quoted(shape, 60)}: {EXPECTED}")
    if datatype != INPUT:
        came = "no datatype" if datatype is None else f"the datatype {quoted(datatype, 40)}"
        raise Problem(400, f"input {name!r} has {came}: {EXPECTED}")
    rows, parameters = shape[0], given.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        if "data" not in given:
            raise Problem(400, f"input {name!r} has no data: {EXPECTED}, its numbers in data or as binary data")
        return _of_json(name, shape, given["data"]), 0
    if type(size) is not int or size != 4 * rows or size > len(rest) or "data" in given:
        came = f"binary_data_size {quoted(size, 40)} of {len(rest):,} bytes left" + (", and data" * ("data" in given))
        raise Problem(400, f"input {name!r} of shape {shape} has {came}: expected FP32, {4 * rows:,} bytes")
    return np.frombuffer(rest[:size], dtype="<f4"), size


def _of_json(name: str, shape: list[int], data: Any) -> np.ndarray:
    expected = f"input {name!r} of shape {shape} {{}}: expected {shape[0]:,} numbers, flat or in rows of one"
    if not isinstance(data, list):
        raise Problem(400, expected.format(f"has {_kind(data)} as data"))
    if set(map(type, data)) == {list}:
        if set(map(len, data)) != {1}:
            raise Problem(400, expected.format("has nested data of another shape"))
        data = list(itertools.chain.from_iterable(data))
    other = set(map(type, data)) - {int, float}
    if other:
        raise Problem(400, expected.format(f"holds {_kind(next(each for each in data if type(each) in other))}"))
    if len(data) != shape[0]:
        raise Problem(400, expected.format(f"has {len(data):,} numbers"))
    try:
        return np.array(data, dtype=np.float64)
    except OverflowError as error:
        raise Problem(400, expected.format("holds a number beyond FP32")) from error


def _wants_binary(told: Mapping[str, Any]) -> bool:
    parameters, outputs = told.get("parameters") or {}, told.get("outputs")
    if not isinstance(parameters, dict):
        raise Problem(400, f"the request's parameters are {_kind(parameters)}, expected an object")
    binary = parameters.get("binary_data_output", False)
    if outputs is not None:
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs) or len(outputs) > 1:
            raise Problem(400, f"the member outputs is not a list of one object: the only output is {SCORES!r}")
        for each in outputs:
            if each.get("name") != SCORES:
                raise Problem(400, f"there is no output {quoted(each.get('name'), 80)}: the only one is {SCORES!r}")
            own = each.get("parameters") or {}
            if not isinstance(own, dict) or "classification" in own:
                raise Problem(400, f"the parameters of the output {SCORES!r} are none that it has: binary_data")
            binary = own.get("binary_data", binary)
    if type(binary) is not bool:
        raise Problem(400, f"whether the scores come as binary data is {_kind(binary)}, expected true or false")
    return binary


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
