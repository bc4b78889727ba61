"""Training on a shop's own catalogue: heads over frozen encoders, a network of all modalities, classifiers, whitening.

Above `indexer`, whose sources and records it reads, and beside `evaluation`; nothing imports it. What it trains is used through
`triptych.encoders` (the family `trained_head`), classifiers that a profile names, or vectors that come with the records, so
searching and indexing never need this package.
"""
