"""What the faces show: rows, fields, texts and charts, drawn once for all of them."""
