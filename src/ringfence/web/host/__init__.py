"""The local code host: git over HTTP, pull requests as records, a review page; nothing outside this machine.

It is a host of its own, not a part of the worker: it holds its own principals and its own rules, and
refuses what the worker should never have tried. Its API takes the shapes of GitHub's REST API.
"""
