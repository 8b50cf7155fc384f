"""The dashboard: `measure` makes plain data, `figures` turns them into charts, `page` into one HTML file."""
