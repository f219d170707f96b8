"""Measurements that `mixcim bench` prints: each function here returns records of what it has measured."""
