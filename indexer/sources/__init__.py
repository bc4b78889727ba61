"""Where catalogues come from: JSON lines, CSV, TSV, Parquet, an index of Elasticsearch, a folder of media; local or not.

`source.open_source(spec.SourceSpec(...), services).records()` gives the records of any of them, each as JSON text. Nothing is
imported here: the command's help needs `spec` and none of the rest.
"""
