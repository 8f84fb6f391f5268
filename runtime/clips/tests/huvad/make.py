#!/usr/bin/env python3
"""Writes the pickles of made-up numbers in files/ that the tests read. Needs numpy; run it once with numpy 1 and once with numpy 2, since
their names in pickles differ: python3 make.py. The files are committed, so that tests need no Python."""

import collections
import datetime
import os
import pathlib
import pickle
import subprocess

import numpy

FILES = pathlib.Path(__file__).parent / "files"
MAJOR = numpy.__version__.split(".")[0]
FRAMES, PERSONS = (3, 10), (1, 7)


def numbers(frame, person):
    """x, y, confidence of 17 key-points; the tests know this formula. All exact in float32; whole but for the confidence."""
    return [[10.0 * k + frame, 5.0 * k + person, k % 4 / 4] for k in range(17)]


def poses(keypoints, frame_key=int, person_key=int, entry=list, frames=dict, persons=dict):
    bbox = [1.0, 2.0, 30.0, 40.0]
    out = frames()
    for frame in FRAMES:
        people = persons()
        for person in PERSONS:
            people[person_key(person)] = entry([bbox, keypoints(numbers(frame, person))])
        out[frame_key(frame)] = people
    return out


def write(name, value, protocol):
    (FILES / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol))


def array(dtype, order="C"):
    return lambda rows: numpy.array(rows, dtype=dtype, order=order)


def sound():
    for protocol in (2, 3, 4, 5):
        write(f"numpy{MAJOR}_float64_protocol{protocol}", poses(array("f8")), protocol)
    write(f"numpy{MAJOR}_float32_fortran_protocol5", poses(array("f4", "F")), 5)
    write(f"numpy{MAJOR}_float32_fortran_protocol2", poses(array("f4", "F")), 2)
    scalars = lambda rows: [[numpy.float64(number) for number in row] for row in rows]
    write(f"numpy{MAJOR}_scalars_protocol4", poses(scalars, frame_key=numpy.int64, person_key=numpy.int32), 4)
    write(f"numpy{MAJOR}_slices_protocol4", poses(lambda rows: numpy.array(rows, dtype="f4").repeat(2, 1)[:, ::2]), 4)
    if MAJOR != "2":
        return
    write("lists_protocol2", poses(list), 2)
    write("lists_texts_protocol4", poses(list, frame_key=lambda frame: f"{frame:06}", person_key=str), 4)
    write("tuples_protocol5", poses(lambda rows: tuple(map(tuple, rows)), entry=tuple, person_key=float), 5)
    write("rows_of_arrays_protocol4", poses(lambda rows: [numpy.array(row, dtype="f4") for row in rows]), 4)
    write("flat_protocol4", poses(lambda rows: numpy.array(rows, dtype="f4").ravel()), 4)
    write("flat_list_protocol4", poses(lambda rows: sum(rows, [])), 4)
    default = lambda: collections.defaultdict(dict)
    write("other_dicts_protocol4", poses(array("f4"), frames=default, persons=collections.OrderedDict), 4)
    # Confidences as whole numbers: those of the formula, times four.
    write("int64_protocol5", poses(lambda rows: numpy.array([[x, y, c * 4] for x, y, c in rows], dtype="i8")), 5)


class Call:
    """Pickles as the call of a function: what a hostile file does. Unpickling it with Python would run it."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def hostile():
    for protocol in (2, 4, 5):
        write(f"hostile_system_protocol{protocol}", Call(os.system, "echo run"), protocol)
    write("hostile_eval_protocol4", {3: {1: Call(eval, "print('run')")}}, 4)
    write("hostile_popen_protocol4", {Call(subprocess.Popen, ["echo", "run"]): {}}, 4)
    write("hostile_getattr_protocol4", poses(lambda rows: Call(getattr, rows, "clear")), 4)
    write("hostile_load_protocol4", poses(lambda rows: Call(numpy.load, "x.npy")), 4)
    # Named, never called.
    write("hostile_named_protocol4", {3: {1: [[0, 0, 1, 1], os.system]}}, 4)


def wrong():
    write("wrong_objects_protocol4", poses(lambda rows: numpy.array([None] * 51, dtype=object)), 4)
    write("wrong_date_protocol4", {3: {1: datetime.date(2020, 1, 1)}}, 4)
    write("wrong_big_endian_protocol4", poses(array(">f4")), 4)
    write("wrong_half_protocol4", poses(array("f2")), 4)
    write("wrong_count_protocol4", poses(lambda rows: numpy.zeros((18, 3))), 4)
    write("wrong_protocol0", poses(list), 0)


FILES.mkdir(exist_ok=True)
sound()
if MAJOR == "2":
    hostile()
    wrong()
