"""The books of the ledger: exact at any time, what is missing found and delivered again, dead letters (promise 1)."""
