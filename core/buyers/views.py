"""Signing up, and one's own profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from .forms import ProfileForm, SignUpForm
from .models import Buyer

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from core.http import UserRequest


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make a user, whose buyer comes by signal, and log in."""
    if request.user.is_authenticated:
        return redirect("buyers:profile")
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        # The user and the buyer that its receiver makes: both or neither.
        with transaction.atomic():
            user = form.save()
        login(request, user)
        messages.success(request, f"Welcome, {user.buyer}.")
        return redirect("cars:list")
    return render(request, "buyers/sign_up.html", {"form": form})


@login_required
@require_safe
def profile(request: UserRequest) -> HttpResponse:
    """Show the buyer, the cars bought and the latest notices."""
    buyer = Buyer.objects.of(request.user)
    context = {
        "buyer": buyer,
        "cars": buyer.cars.order_by("-sold_at"),
        "notices": buyer.notices.all()[:10],
    }
    return render(request, "buyers/profile.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_profile(request: UserRequest) -> HttpResponse:
    """Change one's own data."""
    buyer = Buyer.objects.of(request.user)
    form = ProfileForm(request.POST or None, instance=buyer)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
        messages.success(request, "Your profile is saved.")
        return redirect("buyers:profile")
    return render(request, "buyers/profile_form.html", {"form": form})
