#!/usr/bin/env python3
"""Feeds Ultralytics-style key-points to alfred-edge: python3 feed_ultralytics.py /run/alfred/poses.sock [frames [frames per second]]

With Ultralytics installed, replace made_up_results() by YOLO("yolo11n-pose.pt").track(source=0, stream=True).
"""
import math, socket, struct, sys, time

def message(frame, ids, scores, keypoints):
    """ids: n numbers; scores: n; keypoints: n lists of 17 (x, y, confidence), COCO order, pixels (result.keypoints.data)."""
    packed = struct.pack("<4sHHQQ", b"ALFP", 1, len(ids), frame, time.monotonic_ns())
    for person, score, points in zip(ids, scores, keypoints):
        packed += struct.pack("<If51f", int(person), float(score), *(float(value) for point in points for value in point))
    return packed

def made_up_results(frames):
    """Two people who walk, in the form of result.boxes.id, result.boxes.conf, result.keypoints.data."""
    for frame in range(frames):
        swing = [math.sin(0.3 * frame + joint) for joint in range(17)]
        people = [[(200 + 300 * p + frame + 4 * s, 100 + 9 * j + 2 * s, 0.9) for j, s in enumerate(swing)] for p in range(2)]
        yield [1, 2], [0.9, 0.8], people

feeder = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
feeder.connect(sys.argv[1])
for number, (ids, scores, keypoints) in enumerate(made_up_results(int(sys.argv[2]) if len(sys.argv) > 2 else 300)):
    # At most 64 persons fit into a message; the best tracked ones come first.
    feeder.send(message(number, ids[:64], scores[:64], keypoints[:64]))
    time.sleep(1 / (float(sys.argv[3]) if len(sys.argv) > 3 else 300))
