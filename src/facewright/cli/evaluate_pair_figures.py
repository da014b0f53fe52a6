"""What `facewright evaluate verification` found on a list of pairs: for programs, for people, as plots."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facewright.cli.evaluate_inputs import write_plots

if TYPE_CHECKING:
    import numpy as np

    from facewright.evaluation import AcceptRate, FacePairs, GroupReport, Interval, ScoreSummary, Verification

DEFINITIONS = {
    "accuracy": "mean over folds; std is the population standard deviation over folds",
    "val": "share of genuine pairs accepted at the largest of 0, 0.001, ..., 3.999 with at most the target share of"
    " impostors on the other folds; mean over folds",
    "scores": "all pairs at once, by cosine; eer on straight lines between thresholds; fmr100 and fmr1000 the lowest"
    " FNMR with FMR <= 1/100, 1/1000",
    "pyeer": "the same rates as the package pyeer 0.5.6 defines them: the threshold of the nearest FMR, the middle of"
    " both rates at one threshold as EER",
    "tar_at_far": "1 - lowest FNMR with FMR <= FAR, all pairs at once",
    "intervals": "95 % percentile bootstrap; over people a pair counts as often as its people were drawn",
    "groups": "at the mean threshold of the folds; pairs of two groups left out; accuracy = 1 - (FNMR + FMR) / 2",
    "missing": "pairs in which no face was found: rejected at every threshold",
}
LEAKAGE = "people of these benchmarks may be among those the encoder was trained on; none were looked for here"


@dataclass(frozen=True, eq=False)
class Measured:
    """One list of pairs and everything measured on it."""

    faces: "FacePairs"
    protocol: str
    result: "Verification"
    cosines: "np.ndarray"  # (P,)
    accepted: "AcceptRate"
    scores: "ScoreSummary"
    pyeer: dict[str, float | None]
    tar: dict[float, float]
    interval: tuple[float, float]
    intervals: "dict[str, Interval]"
    shared: int | None
    groups: "GroupReport | None"


def figures(one: Measured) -> dict[str, Any]:
    """Plain numbers for a JSON file."""
    result, accepted = one.result, one.accepted
    return {
        "protocol": one.protocol,
        "accuracy": result.accuracy,
        "accuracy_std": result.std,
        "accuracy_interval_95": list(one.interval),
        "fold_accuracy": result.fold_accuracy.tolist(),
        "fold_threshold": result.fold_threshold.tolist(),
        "val": accepted.val,
        "val_std": accepted.std,
        "val_far": accepted.far,
        "val_far_target": accepted.target,
        "genuine": result.genuine,
        "impostor": result.impostor,
        "missing": result.missing,
        "rejected_genuine": result.rejected_genuine.tolist(),
        "accepted_impostor": result.accepted_impostor.tolist(),
        "people_in_several_folds": one.shared,
        "scores": one.scores.figures(),
        "pyeer": one.pyeer,
        "tar_at_far": {f"{far:g}": rate for far, rate in one.tar.items()},
        "intervals": {name: asdict(interval) for name, interval in one.intervals.items()},
        **({} if one.groups is None else {"groups": one.groups.figures()}),
    }


def lines(one: Measured) -> list[str]:
    """For people."""
    result, accepted, scores, interval = one.result, one.accepted, one.scores, one.interval
    over = f"over {len(result.fold_accuracy)} folds, threshold from the other folds"
    said = [
        f"accuracy  {result.accuracy:8.2%}  std {result.std:.2%} {over}",
        f"          {interval[0]:8.2%}  to {interval[1]:.2%}, 95 % percentile bootstrap over pairs",
    ]
    if "accuracy" in one.intervals:
        wide = one.intervals["accuracy"]
        said.append(f"          {wide.low:8.2%}  to {wide.high:.2%}, 95 % percentile bootstrap over people")
    held = f"at most {accepted.target:g} of impostors on the other folds, {accepted.far:.2%} attained"
    said += [
        f"VAL       {accepted.val:8.2%}  std {accepted.std:.2%}, {held}",
        f"EER       {scores.eer:8.2%}  all pairs at once, straight line between thresholds",
        f"FMR100    {scores.fmr100.fnmr:8.2%}  all pairs at once, lowest FNMR with FMR <= 1 %",
        f"FMR1000   {scores.fmr1000.fnmr:8.2%}  all pairs at once, lowest FNMR with FMR <= 0.1 %",
        *(f"TAR       {rate:8.2%}  all pairs at once, at FAR <= {far:g}" for far, rate in one.tar.items()),
        f"AUC       {scores.auc:8.4f}  all pairs at once, ties count one half",
    ]
    if result.missing:
        said.append(f"missing   {result.missing:8,}  pairs without a face, rejected at every threshold")
    if one.shared:
        said.append(f"shared    {one.shared:8,}  people occur in more than one fold, which flatters the accuracy")
    if one.groups is not None:
        for row in one.groups.groups:
            rates = "no pairs of both kinds" if row.accuracy is None else f"FNMR {row.fnmr:.2%}, FMR {row.fmr:.2%}"
            share = "       –" if row.accuracy is None else f"{row.accuracy:8.2%}"
            said.append(f"group     {share}  {row.group}: {rates}, {row.genuine:,} + {row.impostor:,} pairs")
    return [*said, f"Protocol: {one.protocol}."]


def plot(folder: Path, one: Measured) -> None:
    """Write histograms, ROC and DET."""
    from facewright.evaluation import error_rates
    from facewright.evaluation.plots import det_plot, roc_plot, score_histograms

    genuine, impostor = one.cosines[one.faces.issame], one.cosines[~one.faces.issame]
    curves = {one.faces.name: error_rates(genuine, impostor)}
    histograms = score_histograms(genuine, impostor, threshold=one.scores.eer_threshold)
    write_plots(folder, {"histograms": histograms, "roc": roc_plot(curves), "det": det_plot(curves)})
