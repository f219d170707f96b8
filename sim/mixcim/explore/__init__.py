"""Exploration: choices that a person would make by trial, made from data."""
