"""Measures and configurations in plain words, for a report that is read by people who made neither. Pure."""

from __future__ import annotations

from typing import Final

_CONFIGURATIONS: Final = {
    "triptych": "Triptych as a user gets it who sets nothing",
    "words": "word matches alone (BM25)",
    "best_leg": "the best single way to search for each kind of query, chosen after the fact",
    "bool": "raw scores added up, as a plain Elasticsearch query does",
    "min_max_10": "the 10 first of each way to search, stretched to 0..1 and averaged",
    "min_max_100": "the same with 100, as Elasticsearch's linear retriever does",
    "rrf": "by ranks alone (reciprocal rank fusion)",
    "l2": "OpenSearch's l2 normalisation and mean",
    "dbsf": "Qdrant's distribution-based fusion",
}

_MEASURES: Final = {
    "nDCG": "how near the first answers are to the best order; 1 is perfect",
    "RR": "1 / place of the first right answer",
    "P": "share of the first answers that are right",
    "R": "share of all right products that are among the first answers",
    "Success": "share of queries with a right answer that early",
    "F1": "P and R in one number",
    "accuracy": "judged products on the right side of the cut-off",
    "AP": "precision at each right answer, averaged",
    "Bpref": "right before wrong, of judged products only",
    "Judged": "share of what is shown that anybody judged",
}


def of_configuration(name: str) -> str:
    """What a configuration is; empty where its name says it."""
    kind, colon, rest = name.partition(":")
    if colon:
        return {"leg": f"the way to search {rest} alone", "set": f"Triptych with the weight set {rest}"}.get(kind, "")
    return _CONFIGURATIONS.get(name, "")


def of_measure(name: str) -> str:
    """What a measure says."""
    return _MEASURES.get(name.partition("@")[0].partition("(")[0], "")
