"""What a capable person writes in an afternoon for the same work: OpenCV decodes, ONNX Runtime detects, supervision
tracks and asks the area, paho publishes. Measured beside the agent by bench.py; says once a second how many pictures of
each camera it looked at.
"""
import argparse
import json
import os
import threading
import time

os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")

import cv2
import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt
import supervision as sv

STRIDES = (8, 16, 32)


class Model:
    """The detector's own layout: grid cells of three strides, boxes as offsets to them."""

    def __init__(self, path):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.name, self.side = self.session.get_inputs()[0].name, self.session.get_inputs()[0].shape[2]
        cells = [np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) for n in (self.side // s for s in STRIDES)]
        self.cells = np.concatenate(cells)
        self.strides = np.concatenate([np.full((len(c), 1), s) for c, s in zip(cells, STRIDES)])

    def detect(self, picture, floor=0.25):
        h, w = picture.shape[:2]
        scale = min(self.side / w, self.side / h)
        small = cv2.resize(picture, (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA)
        x = np.full((self.side, self.side, 3), 114, np.float32)
        x[: small.shape[0], : small.shape[1]] = small
        out = self.session.run(None, {self.name: np.ascontiguousarray(x.transpose(2, 0, 1))[None]})[0][0]
        scores = out[:, 4:5] * out[:, 5:]
        best = scores.max(1)
        keep = best > floor
        middle = (out[keep, :2] + self.cells[keep]) * self.strides[keep]
        size = np.exp(out[keep, 2:4]) * self.strides[keep]
        found = sv.Detections(
            xyxy=np.concatenate([middle - size / 2, middle + size / 2], 1) / scale,
            confidence=best[keep],
            class_id=scores[keep].argmax(1),
        )
        return found.with_nms(0.65)


class Camera(threading.Thread):
    def __init__(self, number, url, model, client, fps):
        super().__init__(daemon=True)
        self.number, self.url, self.model, self.client, self.fps = number, url, model, client, fps
        self.looked = self.received = 0
        self.seen = set()

    def run(self):
        capture = cv2.VideoCapture(self.url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        tracker, zone, due = sv.ByteTrack(frame_rate=self.fps), None, 0.0
        while capture.grab():
            self.received += 1
            now = time.monotonic()
            if now < due:
                continue
            due = max(due + 1 / self.fps, now - 1 / self.fps)
            ok, picture = capture.retrieve()
            if not ok:
                continue
            if zone is None:
                h, w = picture.shape[:2]
                corners = np.array([[0.2, 0.3], [0.8, 0.3], [0.8, 0.95], [0.2, 0.95]]) * (w, h)
                zone = sv.PolygonZone(corners.astype(int), triggering_anchors=[sv.Position.BOTTOM_CENTER])
            tracks = tracker.update_with_detections(self.model.detect(picture))
            inside = tracks[zone.trigger(tracks)]
            for box, track, score in zip(inside.xyxy, inside.tracker_id, inside.confidence):
                if track not in self.seen:
                    self.seen.add(track)
                    self.say(picture, box, int(track), float(score))
            self.looked += 1

    def say(self, picture, box, track, score):
        drawn = picture.copy()
        cv2.rectangle(drawn, tuple(int(v) for v in box[:2]), tuple(int(v) for v in box[2:]), (0, 0, 255), 3)
        jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        topic = f"peer/{self.number}"
        self.client.publish(topic, json.dumps({"track": track, "score": score, "time": time.time()}), qos=1)
        self.client.publish(f"{topic}/picture", jpeg, qos=1)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--url", required=True)
    ap.add_argument("--cameras", type=int, default=1)
    ap.add_argument("--model", required=True)
    ap.add_argument("--mqtt", type=int, required=True)
    ap.add_argument("--fps", type=int, default=5)
    args = ap.parse_args()
    cv2.setNumThreads(1)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", args.mqtt)
    client.loop_start()
    model = Model(args.model)
    cameras = [Camera(n, args.url, model, client, args.fps) for n in range(args.cameras)]
    for camera in cameras:
        camera.start()
    while any(c.is_alive() for c in cameras):
        time.sleep(1)
        print(json.dumps({"received": [c.received for c in cameras], "looked": [c.looked for c in cameras]}), flush=True)


if __name__ == "__main__":
    main()
