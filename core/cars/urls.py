"""URLs of cars."""

app_name = "cars"
urlpatterns: list = []
