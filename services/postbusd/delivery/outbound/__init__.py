"""Mail to other hosts: the queue, who takes what from it when, and how it is handed over (architecture §3)."""
