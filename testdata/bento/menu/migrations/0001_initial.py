from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Dish",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("description", models.TextField(blank=True)),
                ("photo", models.ImageField(blank=True, upload_to="dishes")),
                ("price", models.DecimalField(decimal_places=2, max_digits=6)),
            ],
            options={"ordering": ["name"], "verbose_name_plural": "dishes"},
        ),
    ]
