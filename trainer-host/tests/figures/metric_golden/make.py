"""Makes golden.json: small sets of labelled scores and their figures by scikit-learn, scipy and numpy.

Run: python3 make.py > golden.json   (made with scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6)
"""

import json

import numpy as np
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import hmean
from sklearn.metrics import (average_precision_score, confusion_matrix, f1_score, precision_recall_curve, precision_score, recall_score,
                             roc_auc_score, roc_curve)


def figures(scores, labels, threshold):
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    flagged = (scores >= threshold).astype(int)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(labels, flagged, labels=[0, 1]).ravel())
    specificity, sensitivity = tn / (tn + fp), tp / (tp + fn)
    prs = [precision_score(labels, flagged, zero_division=0), recall_score(labels, flagged), specificity]
    # Along the curve by point number: FPR alone may stand still.
    number = np.arange(len(fpr))
    fpr_at, tpr_at = interp1d(number, fpr), interp1d(number, tpr)
    crossing = brentq(lambda t: fpr_at(t) + tpr_at(t) - 1.0, 0.0, number[-1], xtol=1e-14, rtol=1e-14)
    return {
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "auc_roc": roc_auc_score(labels, scores),
        "auc_pr": average_precision_score(labels, scores),
        "roc": [fpr.tolist(), tpr.tolist()],
        # scikit-learn: by rising threshold, ending in the conventional point.
        "pr": [precision.tolist(), recall.tolist()],
        "max_f1": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))),
        "interpolated_eer": float(fpr_at(crossing)),
        # numpy.interp takes the last of several points with the same x: here the lowest FPR of a level stretch, there the upper end of a
        # steep one. FNR from whole counts, so that 10 % is 10 %.
        "ten_er": float(np.interp(0.1, (np.round((1.0 - tpr) * sum(labels)) / sum(labels))[::-1], fpr[::-1])),
        "miss_rate_at_ten_percent": float(1.0 - np.interp(0.1, fpr, tpr)),
        "threshold": threshold,
        "confusion": [tp, fp, tn, fn],
        "f1": f1_score(labels, flagged, zero_division=0),
        "ebi": float(hmean([specificity, sensitivity])) if min(specificity, sensitivity) > 0 else 0.0,
        "h_prs": float(hmean(prs)) if min(prs) > 0 else 0.0,
        "quantiles": [[p, float(np.quantile(scores, p))] for p in (0.0, 0.025, 0.3, 0.5, 0.77, 0.975, 1.0)],
    }


def main():
    random = np.random.default_rng(11)
    sets = {}

    def add(name, normal, anomalous, threshold):
        scores = np.concatenate([normal, anomalous])
        labels = np.concatenate([np.zeros(len(normal), int), np.ones(len(anomalous), int)])
        order = random.permutation(len(scores))
        sets[name] = figures(scores[order], labels[order], threshold)

    add("overlapping", random.normal(0, 1, 40), random.normal(1, 1, 25), 0.5)
    add("rare anomalies", random.normal(0, 1, 97), random.normal(1.5, 1, 3), 1.25)
    add("below chance", random.normal(1, 1, 20), random.normal(0, 1, 20), 0.5)
    add("coarse ties", random.integers(0, 5, 40).astype(float), random.integers(2, 7, 30).astype(float), 3.0)
    add("two scores", np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), 1.0)
    add("all equal", np.full(6, 2.5), np.full(4, 2.5), 2.5)
    add("apart", random.uniform(0, 1, 9), random.uniform(2, 3, 7), 1.5)
    add("one of each", np.array([0.25]), np.array([0.5]), 0.4)
    add("large numbers", random.normal(-1e9, 1e6, 30), random.normal(-1e9 + 1e6, 1e6, 30), -1e9)
    print(json.dumps(sets, indent=None, separators=(",", ":")).replace('},"', '},\n"'))


main()
