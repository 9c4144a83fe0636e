"""Stores and sources that lie in a bucket, `s3://BUCKET/FOLDER`, and their copies on this machine.

A stage works on files of this machine. What it needs of a bucket is fetched when it is asked for
and checked against the digests in the result that lists it; what it leaves is sent, its
`result.json` last. Whatever is not listed in a result does not count.
"""
