"""Checks a manifest against Kubernetes' own schemas, which kubernetes-validate carries, and prints
its documents as JSON. No cluster is asked."""

import json
import sys

import kubernetes_validate
import yaml

with open(sys.argv[1], encoding="utf-8") as manifest:
    documents = list(yaml.safe_load_all(manifest))
for document in documents:
    kubernetes_validate.validate(document, "1.31", strict=True)
json.dump(documents, sys.stdout)
