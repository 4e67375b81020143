"""CarSales: the Django project that shows the tracer at work on a small real site."""
