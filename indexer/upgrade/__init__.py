"""A second version of an index beside the one that serves: filled, compared, swapped in and out, dropped, without downtime."""
