"""packets -> flows -> feature rows: schema, table, splits, partitions, federated scaling."""
