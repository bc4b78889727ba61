"""Training on a shop's own catalogue: heads over frozen encoders, a network of all modalities, classifiers of categories.

Above `indexer`, whose sources and records it reads, and beside `evaluation`; nothing imports it. What it trains is used through
`triptych.encoders` (the families `trained_head` and `trained_fusion`), so searching and indexing never need this package.
"""
