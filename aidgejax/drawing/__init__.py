"""Pictures that need no library: graphs in layers, charts, tables, as SVG, HTML, Mermaid, dot or text."""
