"""Forms about one's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User

from .models import Buyer

if TYPE_CHECKING:
    ProfileModelForm = forms.ModelForm[Buyer]
    SignUpBaseForm = UserCreationForm[User]
else:
    ProfileModelForm = forms.ModelForm
    SignUpBaseForm = UserCreationForm


class SignUpForm(SignUpBaseForm):
    """A new user; the buyer behind it comes by signal."""

    class Meta(UserCreationForm.Meta):
        """Ask for a name as well, which is all that the site shows to others."""

        model = User
        fields = ("username", "first_name", "last_name")


class ProfileForm(ProfileModelForm):
    """The buyer's own data, and the names that the user model keeps."""

    first_name = forms.CharField(max_length=150, required=False)
    last_name = forms.CharField(max_length=150, required=False)
    email = forms.EmailField(required=False)

    class Meta:
        """The fields of the buyer come after those of the user."""

        model = Buyer
        fields = ("city", "phone")

    field_order = ("first_name", "last_name", "email", "city", "phone")
    user_fields = ("first_name", "last_name", "email")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.user_fields:
            self.fields[name].initial = getattr(self.instance.user, name)

    def save(self, commit: bool = True) -> Buyer:  # noqa: FBT001, FBT002
        """Save the buyer and, with it, the names of its user."""
        user = self.instance.user
        for name in self.user_fields:
            setattr(user, name, self.cleaned_data[name])
        if commit:
            user.save(update_fields=self.user_fields)
        buyer: Buyer = super().save(commit=commit)
        return buyer
