"""URLs of accounts and profiles."""

from __future__ import annotations

from django.contrib.auth import views as auth_views
from django.urls import path, reverse_lazy

from . import views

app_name = "buyers"

urlpatterns = [
    path("sign-up/", views.sign_up, name="sign_up"),
    path(
        "log-in/",
        auth_views.LoginView.as_view(
            template_name="buyers/log_in.html", redirect_authenticated_user=True
        ),
        name="log_in",
    ),
    path("log-out/", auth_views.LogoutView.as_view(), name="log_out"),
    path(
        "password/",
        auth_views.PasswordChangeView.as_view(
            template_name="buyers/password_form.html",
            success_url=reverse_lazy("buyers:password_changed"),
        ),
        name="change_password",
    ),
    path(
        "password/changed/",
        auth_views.PasswordChangeDoneView.as_view(template_name="buyers/password_changed.html"),
        name="password_changed",
    ),
    path("profile/", views.profile, name="profile"),
    path("profile/edit/", views.edit_profile, name="edit_profile"),
]
