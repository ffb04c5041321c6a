"""From whatever was downloaded to shards that feed a GPU: layouts -> check -> build -> clips."""
