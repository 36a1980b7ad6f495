"""The self-contained page: data as JSON, one template, one style sheet, a few scripts."""
