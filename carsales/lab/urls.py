"""URLs of lab."""

app_name = "lab"
urlpatterns: list = []
